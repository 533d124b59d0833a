// Confusion matrix of own recordings: prompts, recordings, predictions, and their download.

import { encodeWav } from "./dsp.js";
import { EMOTIONS } from "./stream.js";
import { createZip } from "./zip.js";

export class Trials {
  constructor() { this.trials = []; this.order = []; }

  begin() {
    this.trials = [];
    this.order = [...EMOTIONS];
    for (let i = this.order.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
    }
  }

  get next() { return this.order[0] ?? null; }

  add(emotion, samples, prediction) {
    this.order = this.order.filter((name) => name !== emotion);
    this.trials.push({ emotion, samples, prediction });
  }

  get matrix() { // counts[intended][predicted]
    const counts = Object.fromEntries(EMOTIONS.map((row) => [row, Object.fromEntries(EMOTIONS.map((column) => [column, 0]))]));
    for (const { emotion, prediction } of this.trials) counts[emotion][prediction.emotion]++;
    return counts;
  }

  get correct() { return this.trials.filter(({ emotion, prediction }) => emotion === prediction.emotion).length; }

  // ZIP of a folder in the format of `ser extract --dataset custom` and `ser audit`
  archive() {
    const header = ["file", "emotion", "speaker", "predicted", "gender_predicted", "code", "model", "is_adapted", ...EMOTIONS.map((name) => `p_${name}`)];
    const rows = [header], files = {};
    this.trials.forEach(({ emotion, samples, prediction }, i) => {
      const file = `${String(i + 1).padStart(2, "0")}_${emotion}.wav`;
      files[`recordings/${file}`] = encodeWav(samples);
      rows.push([file, emotion, "me", prediction.emotion, prediction.gender, prediction.code,
                 prediction.model, prediction.isAdapted,
                 ...EMOTIONS.map((name) => prediction.probabilities[name].toFixed(6))]);
    });
    files["recordings/clips.csv"] = new TextEncoder().encode(rows.map((row) => row.join(",")).join("\n") + "\n");
    return createZip(files);
  }
}
