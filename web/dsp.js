// Signal processing: the same steps as ser_utils.audio and ser_utils.live.predictor in Python.

export const SR = 16000; // Hz
const FRAME_LENGTH = 2048, HOP_LENGTH = 512, TOP_DB = 35, POWER_FLOOR = 1e-10; // of trim, as in librosa

export function toMono(channels) {
  if (channels.length === 1) return Float32Array.from(channels[0]);
  const mono = new Float32Array(channels[0].length);
  for (const channel of channels) for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
  return mono;
}

export function peakOf(y) {
  let peak = 0;
  for (const x of y) if (Math.abs(x) > peak) peak = Math.abs(x);
  return peak;
}

// Remove the mean; scale down if the peak exceeds full scale.
export function normalize(y) {
  let sum = 0;
  for (const x of y) sum += x;
  const mean = y.length ? sum / y.length : 0;
  const centered = y.map((x) => x - mean);
  const peak = peakOf(centered);
  return peak > 1 ? centered.map((x) => x / peak) : centered;
}

// Cut leading and trailing frames that are 35 dB below the loudest frame.
export function trim(y) {
  const nFrames = 1 + Math.floor(y.length / HOP_LENGTH);
  const power = new Float64Array(nFrames);
  for (let frame = 0; frame < nFrames; frame++) {
    const start = frame * HOP_LENGTH - FRAME_LENGTH / 2;
    let sum = 0;
    for (let i = Math.max(0, start); i < Math.min(y.length, start + FRAME_LENGTH); i++) sum += y[i] * y[i];
    power[frame] = Math.max(sum / FRAME_LENGTH, POWER_FLOOR);
  }
  const threshold = power.reduce((a, b) => Math.max(a, b), 0) * 10 ** (-TOP_DB / 10);
  const first = power.findIndex((p) => p > threshold);
  if (first < 0) return y.subarray(0, 0);
  let last = nFrames - 1;
  while (power[last] <= threshold) last--;
  return y.subarray(first * HOP_LENGTH, Math.min(y.length, (last + 1) * HOP_LENGTH));
}

// Resample a signal that arrives in blocks: windowed-sinc interpolation, cutoff at 0.95 of the lower Nyquist frequency.
export class Resampler {
  constructor(sr, targetSr = SR, nZeros = 32) {
    this.step = sr / targetSr;
    this.cutoff = 0.95 * Math.min(1, targetSr / sr);
    this.halfWidth = Math.ceil(nZeros / this.cutoff);
    this.buffer = new Float32Array(this.halfWidth);
    this.position = this.halfWidth; // of the next output sample in the buffer
  }

  push(block) {
    if (this.step === 1) return block;
    const buffer = new Float32Array(this.buffer.length + block.length);
    buffer.set(this.buffer);
    buffer.set(block, this.buffer.length);
    const out = [];
    for (; this.position + this.halfWidth < buffer.length; this.position += this.step) out.push(this.interpolate(buffer));
    const consumed = Math.max(0, Math.floor(this.position) - this.halfWidth);
    this.buffer = buffer.slice(consumed);
    this.position -= consumed;
    return Float32Array.from(out);
  }

  interpolate(buffer) {
    const center = Math.floor(this.position);
    let sum = 0;
    for (let i = center - this.halfWidth + 1; i <= center + this.halfWidth; i++) {
      const distance = i - this.position, x = Math.PI * this.cutoff * distance;
      const sinc = x === 0 ? 1 : Math.sin(x) / x;
      sum += buffer[i] * this.cutoff * sinc * (0.5 + 0.5 * Math.cos((Math.PI * distance) / (this.halfWidth + 1)));
    }
    return sum;
  }
}

// 16-bit mono WAV.
export function encodeWav(y, sr = SR) {
  const view = new DataView(new ArrayBuffer(44 + 2 * y.length));
  const writeText = (offset, text) => [...text].forEach((c, i) => view.setUint8(offset + i, c.charCodeAt(0)));
  writeText(0, "RIFF"); view.setUint32(4, 36 + 2 * y.length, true); writeText(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, sr, true); view.setUint32(28, 2 * sr, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  writeText(36, "data"); view.setUint32(40, 2 * y.length, true);
  for (let i = 0; i < y.length; i++) view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, y[i])) * 32767), true);
  return new Uint8Array(view.buffer);
}

// Mel spectrogram in dB for the display: 25 ms frames every 10 ms, 40 bands.
const N_FFT = 512, FRAME = 400, MEL_HOP = 160;
export const N_MELS = 40, FRAMES_PER_SECOND = SR / MEL_HOP;

const hzToMel = (hz) => 2595 * Math.log10(1 + hz / 700);
const melToHz = (mel) => 700 * (10 ** (mel / 2595) - 1);

function melFilters() {
  const edges = Array.from({ length: N_MELS + 2 }, (_, i) => melToHz((hzToMel(SR / 2) * i) / (N_MELS + 1)));
  return edges.slice(0, N_MELS).map((low, band) => {
    const [center, high] = edges.slice(band + 1), weights = [];
    for (let bin = 0; bin <= N_FFT / 2; bin++) {
      const hz = (bin * SR) / N_FFT, weight = Math.min((hz - low) / (center - low), (high - hz) / (high - center));
      if (weight > 0) weights.push([bin, weight]);
    }
    return weights;
  });
}

const FILTERS = melFilters();
const WINDOW = Float64Array.from({ length: FRAME }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FRAME));

export class MelSpectrogram {
  constructor() { this.rest = new Float32Array(0); }

  push(block) { // frames [n_frames][N_MELS] in dB
    const y = new Float32Array(this.rest.length + block.length), frames = [];
    y.set(this.rest);
    y.set(block, this.rest.length);
    let start = 0;
    for (; start + FRAME <= y.length; start += MEL_HOP) frames.push(melFrame(y.subarray(start, start + FRAME)));
    this.rest = y.slice(start);
    return frames;
  }
}

function melFrame(y) {
  const re = new Float64Array(N_FFT), im = new Float64Array(N_FFT);
  for (let i = 0; i < FRAME; i++) re[i] = y[i] * WINDOW[i];
  fft(re, im);
  return FILTERS.map((weights) => {
    let power = 1e-8;
    for (const [bin, weight] of weights) power += weight * (re[bin] ** 2 + im[bin] ** 2);
    return 10 * Math.log10(power);
  });
}

// In place, radix 2.
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size *= 2) {
    const angle = (-2 * Math.PI) / size;
    for (let start = 0; start < n; start += size) for (let k = 0; k < size / 2; k++) {
      const a = start + k, b = a + size / 2, c = Math.cos(angle * k), s = Math.sin(angle * k);
      const tRe = re[b] * c - im[b] * s, tIm = re[b] * s + im[b] * c;
      re[b] = re[a] - tRe; im[b] = im[a] - tIm;
      re[a] += tRe; im[a] += tIm;
    }
  }
}
