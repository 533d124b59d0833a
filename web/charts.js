// Canvas views: signal, mel spectrogram and probabilities over the last seconds.

import { FRAMES_PER_SECOND, N_MELS, SR } from "./dsp.js";
import { EMOTIONS } from "./stream.js";

export const SHOWN_SECONDS = 15;
const ENVELOPE_RATE = 100; // points per second of the drawn waveform
const LOW_DB = -60, HIGH_DB = 20; // of the spectrogram
const MIN_SCALE = 0.05; // amplitude that fills the height of a quiet waveform
const LEFT = 44, RIGHT = 8; // margins of both views, so that their time axes agree

const cssColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const emotionColor = (emotion) => cssColor(`--${emotion}`);

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1, { clientWidth, clientHeight } = canvas;
  if (canvas.width !== Math.round(clientWidth * ratio) || canvas.height !== Math.round(clientHeight * ratio))
    Object.assign(canvas, { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, clientWidth, clientHeight);
  return [context, clientWidth, clientHeight];
}

export class SignalView {
  constructor(canvas) { this.canvas = canvas; this.reset(); }

  reset() { this.peaks = []; this.frames = []; this.pending = 0; this.pendingPeak = 0; }

  push(block, frames) {
    for (const x of block) {
      this.pendingPeak = Math.max(this.pendingPeak, Math.abs(x));
      if (++this.pending === SR / ENVELOPE_RATE) { this.peaks.push(this.pendingPeak); this.pending = this.pendingPeak = 0; }
    }
    this.frames.push(...frames);
    this.peaks.splice(0, this.peaks.length - SHOWN_SECONDS * ENVELOPE_RATE);
    this.frames.splice(0, this.frames.length - SHOWN_SECONDS * FRAMES_PER_SECOND);
  }

  draw() {
    const [context, fullWidth, height] = prepare(this.canvas), width = fullWidth - LEFT - RIGHT, split = height * 0.35;
    const n = SHOWN_SECONDS * ENVELOPE_RATE, scale = Math.max(MIN_SCALE, ...this.peaks);
    context.fillStyle = cssColor("--accent");
    this.peaks.forEach((peak, i) => {
      const half = Math.max(0.5, (peak / scale) * 0.48 * split);
      context.fillRect(LEFT + width * (1 - (this.peaks.length - i) / n), split / 2 - half, width / n + 0.5, 2 * half);
    });
    this.drawSpectrogram(context, width, split, height - split);
    Object.assign(context, { font: "12px system-ui, sans-serif", fillStyle: cssColor("--muted"), textAlign: "right" });
    context.fillText("8 kHz", LEFT - 4, split + 16);
    context.fillText("0", LEFT - 4, height - 4);
  }

  drawSpectrogram(context, width, top, height) {
    const n = SHOWN_SECONDS * FRAMES_PER_SECOND, image = new ImageData(n, N_MELS), dark = cssColor("--scheme") === "dark";
    this.frames.forEach((frame, i) => frame.forEach((db, band) => {
      const level = Math.min(1, Math.max(0, (db - LOW_DB) / (HIGH_DB - LOW_DB))), value = Math.round(255 * (dark ? level : 1 - level));
      const pixel = 4 * ((N_MELS - 1 - band) * n + n - this.frames.length + i);
      image.data[pixel] = image.data[pixel + 1] = image.data[pixel + 2] = value;
      image.data[pixel + 3] = 255;
    }));
    const buffer = Object.assign(document.createElement("canvas"), { width: n, height: N_MELS });
    buffer.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(buffer, LEFT, top + 4, width, height - 4);
  }
}

export const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [], [6, 3], [2, 2], [8, 3, 2, 3]];

export class ProbabilityView {
  constructor(canvas) { this.canvas = canvas; this.reset(); }

  reset() { this.windows = []; }

  push(window) {
    this.windows.push(window);
    while (this.windows[0].start < window.start - SHOWN_SECONDS) this.windows.shift();
  }

  draw(end) { // time of the last sample in s
    const [context, width, height] = prepare(this.canvas), bottom = height - 22, top = 8;
    const x = (window) => LEFT + (width - LEFT - RIGHT) * (1 - (end - window.start - window.duration) / SHOWN_SECONDS);
    const y = (p) => bottom - (bottom - top) * p;
    Object.assign(context, { font: "12px system-ui, sans-serif", fillStyle: cssColor("--muted"), strokeStyle: cssColor("--line"), lineWidth: 1 });
    for (const p of [0, 0.5, 1]) {
      context.textAlign = "right";
      context.fillText(`${100 * p} %`, LEFT - 4, y(p) + 4);
      context.beginPath(); context.moveTo(LEFT, y(p)); context.lineTo(width - RIGHT, y(p)); context.stroke();
    }
    for (let t = Math.max(0, Math.ceil(end - SHOWN_SECONDS)); t <= end - 0.5; t++) if (t % 5 === 0) {
      context.textAlign = "center";
      context.fillText(`${t} s`, x({ start: t, duration: 0 }), height - 6);
    }
    EMOTIONS.forEach((emotion, i) => this.drawLine(context, emotion, DASHES[i], x, y));
  }

  drawLine(context, emotion, dash, x, y) {
    Object.assign(context, { strokeStyle: emotionColor(emotion), lineWidth: 2 });
    context.setLineDash(dash);
    context.beginPath();
    let isConnected = false;
    for (const window of this.windows) { // a window without probabilities interrupts the line
      if (window.probabilities) context[isConnected ? "lineTo" : "moveTo"](x(window), y(window.probabilities[emotion]));
      isConnected = Boolean(window.probabilities);
    }
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = emotionColor(emotion);
    for (const window of this.windows) if (window.probabilities) {
      context.beginPath();
      context.arc(x(window), y(window.probabilities[emotion]), 2.5, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
