// Loads the models, checks them and classifies windows, so that the page stays responsive.

import * as ort from "./vendor/onnxruntime/ort.wasm.min.mjs";
import { SR, normalize, peakOf, trim } from "./dsp.js";
import { hasSignal, isLoud } from "./stream.js";

const MIN_ENCODER_SAMPLES = 0.3 * SR;
let model = null, isRuntimeReady = false;

async function fetchVerified({ path, sha256 }, onProgress) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} could not be loaded (${response.status}): reload the page`);
  const chunks = [];
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    onProgress(value.length);
  }
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))];
  if (digest.map((byte) => byte.toString(16).padStart(2, "0")).join("") !== sha256)
    throw new Error(`${path} was altered or is incomplete (wrong checksum): clear the data of this site and reload`);
  return bytes;
}

async function loadRuntime(file, onProgress) {
  const compressed = await fetchVerified(file, onProgress);
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1; // sw.js
  ort.env.wasm.wasmPaths = new URL("./vendor/onnxruntime/", import.meta.url).href;
  ort.env.wasm.wasmBinary = await new Response(stream).arrayBuffer();
  isRuntimeReady = true;
}

async function load({ name, runtime, info }) {
  const files = [...(isRuntimeReady ? [] : [runtime]), ...info.files], total = files.reduce((sum, file) => sum + file.size, 0);
  let loaded = 0;
  const onProgress = (n) => { loaded += n; postMessage({ type: "progress", loaded, total }); };
  if (!isRuntimeReady) await loadRuntime(runtime, onProgress);
  const sessions = {};
  for (const file of info.files)
    sessions[file.role] = await ort.InferenceSession.create(await fetchVerified(file, onProgress), { executionProviders: ["wasm"] });
  for (const session of Object.values(model?.sessions ?? {})) await session.release();
  model = { name, info, sessions, speaker: null };
  return {};
}

const tensor = (values, shape) => new ort.Tensor("float32", Float32Array.from(values), shape);

async function computeStatistics(speech) {
  const y = new Float32Array(Math.max(speech.length, MIN_ENCODER_SAMPLES));
  y.set(speech);
  const { statistics } = await model.sessions.encoder.run({ waveform: tensor(y, [1, y.length]) }, ["statistics"]);
  return statistics;
}

// Inputs that adapt the models to a speaker; without enrollment they change nothing.
function speakerInputs() {
  if (model.name === "whisper") return { speaker_offset: tensor(model.speaker?.offset ?? new Float32Array(4096), [4096]) };
  const scale = model.speaker?.scale ?? new Float32Array(64).fill(1), offset = model.speaker?.offset ?? new Float32Array(64);
  return { speaker_scale: tensor(scale, [64]), speaker_offset: tensor(offset, [64]) };
}

async function classify(speech) {
  if (model.name === "whisper") {
    const statistics = await computeStatistics(speech);
    return [await model.sessions.emotion.run({ statistics, ...speakerInputs() }), await model.sessions.gender.run({ statistics })];
  }
  const inputs = { waveform: tensor(speech, [1, speech.length]), ...speakerInputs() };
  return [await model.sessions.emotion.run(inputs, ["probabilities", "ood_score"]),
          await model.sessions.gender.run(inputs, ["probabilities"])];
}

async function predict({ samples }) {
  const startTime = performance.now(), y = normalize(samples), peak = peakOf(y), result = { peak, speechDuration: 0, emotion: null };
  if (hasSignal(peak, samples.length / SR)) {
    const speech = trim(y), [emotion, gender] = await classify(speech);
    Object.assign(result, { speechDuration: speech.length / SR, emotion: [...emotion.probabilities.data],
                            gender: [...gender.probabilities.data], oodScore: emotion.ood_score.data[0] });
  }
  return { ...result, milliseconds: performance.now() - startTime };
}

// Reference statistics of a speaker from neutral recordings, as ser_utils.live.enroll_speaker.
async function enroll({ clips }) {
  const speech = clips.map((clip) => normalize(clip)).filter((y) => isLoud(peakOf(y))).map(trim);
  if (!speech.length) throw new Error("these recordings contain no speech: record a neutral sentence");
  model.speaker = model.name === "whisper" ? await whisperSpeaker(speech) : await mfccSpeaker(speech);
  return { count: speech.length };
}

async function whisperSpeaker(speech) {
  const mean = new Float64Array(4096);
  for (const y of speech) (await computeStatistics(y)).data.forEach((x, i) => { mean[i] += x / speech.length; });
  const { neutral_mean: neutral, adaptation_weight: weight } = model.info;
  return { offset: neutral.map((x, i) => weight * (x - mean[i])) };
}

async function mfccSpeaker(speech) {
  model.speaker = null;
  const frames = [];
  for (const y of speech) {
    const { mfcc } = await model.sessions.emotion.run({ waveform: tensor(y, [1, y.length]), ...speakerInputs() }, ["mfcc"]);
    for (let i = 0; i < mfcc.data.length; i += 64) frames.push(mfcc.data.slice(i, i + 64));
  }
  const [neutralMean, neutralStd] = model.info.neutral_mean_std;
  const mean = neutralMean.map((_, k) => frames.reduce((sum, frame) => sum + frame[k], 0) / frames.length);
  const scale = mean.map((m, k) => {
    const variance = frames.reduce((sum, frame) => sum + (frame[k] - m) ** 2, 0) / frames.length;
    return neutralStd[k] / Math.max(Math.sqrt(variance), 1e-6);
  });
  return { scale, offset: neutralMean.map((m, k) => m - mean[k] * scale[k]) };
}

const HANDLERS = { load, predict, enroll, resetSpeaker: () => { model.speaker = null; return {}; } };
let queue = Promise.resolve(); // one message at a time
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    try {
      postMessage({ type: "result", id: data.id, result: await HANDLERS[data.type](data) });
    } catch (error) {
      postMessage({ type: "error", id: data.id, message: error.message || String(error) });
    }
  });
};
