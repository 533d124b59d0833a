// Sources of samples at 16 kHz: the microphone, in blocks, and files.

import { Resampler, SR, toMono } from "./dsp.js";

const MAX_FILE_BYTES = 512 * 2 ** 20, MAX_FILE_SECONDS = 3600;

export class Microphone {
  // onBlock receives Float32Array blocks at 16 kHz
  async start(onBlock) {
    if (!navigator.mediaDevices) throw new Error("the browser offers the microphone only over https or on localhost: open the page there, or use a file");
    // the browser's processing would change level and spectrum
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    try {
      this.context = new AudioContext(); // at the rate of the device
      await this.context.audioWorklet.addModule("capture-processor.js");
      const resampler = new Resampler(this.context.sampleRate);
      this.node = new AudioWorkletNode(this.context, "capture");
      this.node.port.onmessage = ({ data }) => onBlock(resampler.push(data));
      this.context.createMediaStreamSource(this.stream).connect(this.node);
      this.node.connect(this.context.destination); // outputs silence; some browsers process only connected nodes
      await this.context.resume();
    } catch (error) {
      this.stop(); // otherwise the microphone would stay on
      throw error;
    }
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.node?.disconnect();
    this.context?.close();
    this.stream = this.node = this.context = null;
  }
}

export async function readFile(file) { // File or Blob
  if (!file.size) throw new Error(`${file.name}: the file is empty: record it again`);
  if (file.size > MAX_FILE_BYTES) throw new Error(`${file.name}: the file has more than 512 MB: cut it into parts`);
  const context = new OfflineAudioContext(1, 1, SR); // decodeAudioData resamples to its rate
  let sound;
  try {
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: the browser cannot decode this file: convert it to WAV, MP3, OGG or FLAC`);
  }
  if (sound.duration > MAX_FILE_SECONDS) throw new Error(`${file.name}: longer than one hour: cut it into parts`);
  return toMono(Array.from({ length: sound.numberOfChannels }, (_, c) => sound.getChannelData(c)));
}

export function explain(error) {
  if (error.name === "NotAllowedError") return "The browser denied access to the microphone: allow it beside the address, or use a file.";
  if (error.name === "NotFoundError") return "No microphone was found: connect one, or use a file.";
  const text = error.message || String(error);
  return text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}
