// Sources of samples at 16 kHz: the microphone, in blocks, and files.

import { Resampler, SR, toMono } from "./dsp.js";

const MAX_FILE_BYTES = 512 * 2 ** 20, MAX_FILE_SECONDS = 3600;

// Duration in s from the header, before the file is decoded into memory; NaN if unknown.
function readDuration(file) {
  return new Promise((resolve) => {
    const player = document.createElement("audio"), url = URL.createObjectURL(file);
    const finish = () => { URL.revokeObjectURL(url); resolve(player.duration); };
    Object.assign(player, { preload: "metadata", onloadedmetadata: finish, onerror: finish, src: url });
  });
}

export class Microphone {
  constructor() { this.generation = 0; this.stream = null; } // a start is cancelled by a later start or stop

  // onBlock receives Float32Array blocks at 16 kHz; onEnd is called when the device is unplugged
  async start(onBlock, onEnd) {
    this.stop();
    const generation = this.generation;
    // the browser's signal processing would change gain and spectrum
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const context = new AudioContext(); // at the rate of the device
    try {
      await context.audioWorklet.addModule("capture-processor.js");
      await context.resume();
      if (generation !== this.generation) throw new DOMException("stopped before it started", "AbortError");
    } catch (error) { // release the microphone
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      throw error;
    }
    const resampler = new Resampler(context.sampleRate), node = new AudioWorkletNode(context, "capture");
    node.port.onmessage = ({ data }) => onBlock(resampler.push(data));
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination); // outputs silence; some browsers process only connected nodes
    stream.getAudioTracks()[0].onended = onEnd;
    Object.assign(this, { stream, context, node });
  }

  stop() {
    this.generation++;
    if (!this.stream) return;
    this.stream.getTracks().forEach((track) => track.stop());
    this.node.disconnect();
    this.context.close();
    this.stream = null;
  }
}

export async function readFile(file) { // File or Blob
  if (!file.size) throw new Error(`${file.name}: the file is empty: choose another file`);
  if (file.size > MAX_FILE_BYTES) throw new Error(`${file.name}: the file has more than 512 MB: cut it into parts`);
  const tooLong = new Error(`${file.name}: longer than one hour: cut it into parts`);
  if (await readDuration(file) > MAX_FILE_SECONDS) throw tooLong;
  const context = new OfflineAudioContext(1, 1, SR); // decodeAudioData resamples to its rate
  let sound;
  try {
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: the browser cannot decode this file: convert it to WAV, MP3, OGG or FLAC`);
  }
  if (sound.duration > MAX_FILE_SECONDS) throw tooLong;
  return toMono(Array.from({ length: sound.numberOfChannels }, (_, c) => sound.getChannelData(c)));
}

export function formatError(error) {
  if (error.name === "NotAllowedError") return "The browser denied access to the microphone: allow it beside the address, or use a file.";
  if (error.name === "NotFoundError") return "No microphone was found: connect one, or use a file.";
  const text = error.message || String(error);
  return text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}
