// Windows and abstention as in ser_utils.live.stream: a window of 3 s is classified every 0.5 s.

// constants.js is written by scripts/build_web.py from the Python modules
import { EMOTIONS, FIVE_EMOTIONS, HOP_DURATION, MIN_DURATION, MIN_PEAK, MIN_PROBABILITY, MIN_SPEECH_DURATION, PAUSE_RATIO, PEAK_DURATION,
         WINDOW_DURATION } from "./constants.js";
import { SR } from "./dsp.js";

export { EMOTIONS, FIVE_EMOTIONS };

export const isLoud = (peak) => peak >= MIN_PEAK;
export const hasSignal = (peak, duration) => isLoud(peak) && duration >= MIN_DURATION;

// Cut a signal that arrives in blocks into windows: {start (s), samples}.
export class Windower {
  constructor() { this.buffer = new Float32Array(0); this.start = 0; this.count = 0; }

  push(block) {
    const size = WINDOW_DURATION * SR, hop = HOP_DURATION * SR, windows = [];
    const buffer = new Float32Array(this.buffer.length + block.length);
    buffer.set(this.buffer);
    buffer.set(block, this.buffer.length);
    let offset = 0;
    for (; buffer.length - offset >= size; offset += hop) windows.push(this.cut(buffer, offset, size));
    this.buffer = buffer.slice(offset);
    this.start += offset;
    return windows;
  }

  finish() { // a signal shorter than a window is one window
    return this.count || !this.buffer.length ? [] : [this.cut(this.buffer, 0, this.buffer.length)];
  }

  cut(buffer, offset, size) {
    this.count++;
    return { start: (this.start + offset) / SR, samples: buffer.slice(offset, offset + size) };
  }
}

// Highest peak of the last seconds, the reference for pauses.
export class RecentPeak {
  constructor() { this.peaks = []; }

  push(peak) {
    this.peaks = [...this.peaks, peak].slice(-PEAK_DURATION / HOP_DURATION);
    return Math.max(...this.peaks);
  }
}

// Emotion, gender and probabilities of a window, or the reason for abstention.
export function describeWindow(window, output, classes, recentPeak) {
  const result = { start: window.start, duration: window.samples.length / SR, emotion: null, gender: null, code: null,
                   class: null, probabilities: null, oodScore: null, abstention: null };
  if (isLoud(output.peak) && result.duration < MIN_DURATION) return { ...result, abstention: "short" };
  if (!output.emotion || output.peak <= recentPeak * PAUSE_RATIO) return { ...result, abstention: "silence" };
  if (output.speechDuration < MIN_SPEECH_DURATION) return { ...result, abstention: "short" };
  Object.assign(result, decodeProbabilities(output, classes), { oodScore: output.oodScore });
  if (output.oodScore > 1) result.abstention = "out of distribution";
  else if (Math.max(...Object.values(result.probabilities)) < MIN_PROBABILITY) result.abstention = "low confidence";
  return result;
}

export function decodeProbabilities({ emotion, gender }, classes) {
  const p = Object.fromEntries(classes.emotion.map((name, i) => [name, emotion[i]]));
  const argmax = (names, values) => names.reduce((best, name) => (values[name] > values[best] ? name : best));
  const speaker = classes.gender[gender[0] >= gender[1] ? 0 : 1];
  const index = FIVE_EMOTIONS.indexOf(argmax(FIVE_EMOTIONS, p));
  return { emotion: argmax(EMOTIONS, p), gender: speaker, code: index + (speaker === "male" ? 5 : 0),
           class: `${speaker}_${FIVE_EMOTIONS[index]}`, probabilities: Object.fromEntries(EMOTIONS.map((name) => [name, p[name]])) };
}
