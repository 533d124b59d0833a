// AudioWorklet -> blocks of mono samples -> 16-bit WAV -> the `wav` trait. Not Opus: it moves MFCCs and needs ffmpeg.
const WORKLET = `registerProcessor("grab", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = new Float32Array(channels[0].length);
      for (const channel of channels) channel.forEach((x, i) => { mono[i] += x / channels.length; });
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
});`;
const MAX_BYTES = 9 * 2 ** 20;  // Jupyter drops messages above 10 MiB without a word
const MAX_UPLOAD = 32 * 2 ** 20;  // decoded, it would be many times that
const SILENT = 0.003, FULL = 0.999;

function toWav(blocks, rate, count) {
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) for (const x of block) {
    view.setInt16(at, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true);
    at += 2;
  }
  return view;
}

// whatever this browser can decode (m4a, webm, mp3, flac ...) becomes WAV here
async function decoded(buffer) {
  const context = new AudioContext();
  try {
    const sound = await context.decodeAudioData(buffer);
    const mono = new Float32Array(sound.length);
    for (let c = 0; c < sound.numberOfChannels; c++)
      sound.getChannelData(c).forEach((x, i) => { mono[i] += x / sound.numberOfChannels; });
    return { blocks: [mono], rate: sound.sampleRate };
  } finally {
    context.close();
  }
}

function explained(error) {
  if (error.name === "NotAllowedError") return "the browser was not allowed to use the microphone: allow it beside the address, or upload a recording";
  if (error.name === "NotFoundError") return "no microphone was found: plug one in, or upload a recording";
  if (error.name === "EncodingError") return "this file is no recording that the browser can read: try WAV, MP3, M4A or OGG";
  return error.message || String(error);
}

function render({ model, el }) {
  const record = Object.assign(document.createElement("button"), { textContent: "● Record", className: "ser-record" });
  const upload = Object.assign(document.createElement("input"), { type: "file", accept: "audio/*", className: "ser-upload" });
  const label = Object.assign(document.createElement("span"), { textContent: model.get("prompt") });
  const message = Object.assign(document.createElement("span"), { className: "ser-message", role: "status" });
  const player = Object.assign(document.createElement("audio"), { controls: true, hidden: true });
  upload.setAttribute("aria-label", "upload a recording");
  const row = document.createElement("div");  // el's own style is the notebook's
  row.style.cssText = "display: flex; flex-wrap: wrap; gap: .5em 1em; align-items: center";
  if (label.textContent) label.style.minWidth = "13em";  // so that takes stand in columns
  row.append(label, record, upload, message, player);
  el.append(row);
  let live = null, url = null, busy = false;

  const put = (values) => { Object.entries(values).forEach(([name, value]) => model.set(name, value)); model.save_changes(); };
  const nothing = () => new DataView(new ArrayBuffer(0));
  const fail = (error) => { message.textContent = "⚠ " + explained(error); put({ state: "error", error: explained(error), wav: nothing() }); };

  function keep({ blocks, rate }, info) {
    const count = blocks.reduce((sum, block) => sum + block.length, 0), seconds = count / rate;
    if (44 + 2 * count > MAX_BYTES) throw new Error(`${seconds.toFixed(0)} s are too long for the notebook's connection: cut it, or give its path to ser_utils.predict`);
    if (seconds < 0.1) throw new Error("nothing was recorded: hold on for a second or two");
    const view = toWav(blocks, rate, count);
    const peak = blocks.reduce((top, block) => block.reduce((t, x) => Math.max(t, Math.abs(x)), top), 0);
    const note = peak < SILENT ? ", silent? check which microphone the browser uses" : peak >= FULL ? ", clipped: move back a little" : "";
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([view], { type: "audio/wav" }));
    Object.assign(player, { src: url, hidden: false });
    message.textContent = `${seconds.toFixed(2)} s at ${rate} Hz${note}`;
    put({ wav: view, state: "ready", error: "", info: { ...info, rate, seconds, peak } });
  }

  function release() {
    const was = live;
    live = null;
    if (was) {
      clearTimeout(was.timer);
      was.stream.getTracks().forEach((track) => track.stop());
      was.node.disconnect();
      was.context.close();
    }
    record.textContent = "● Record";
    upload.disabled = false;
    return was;
  }

  async function start() {
    if (!navigator.mediaDevices) throw new Error("no microphone on this page: open it over https or on localhost, or upload a recording");
    // the browser's own processing would move the first MFCC by tens of decibels
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const context = new AudioContext();  // at its own rate: Firefox refuses another
    try { await listen(stream, context); } catch (error) {  // else the microphone would stay on
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      throw error;
    }
  }

  async function listen(stream, context) {
    const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try { await context.audioWorklet.addModule(module); } finally { URL.revokeObjectURL(module); }
    await context.resume();
    const blocks = [], node = new AudioWorkletNode(context, "grab");
    node.port.onmessage = (event) => blocks.push(event.data);
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination);  // it plays nothing; some browsers run only what is connected
    const most = Math.min(model.get("max_seconds"), MAX_BYTES / 2 / context.sampleRate - 1);
    live = { stream, context, node, blocks, timer: setTimeout(stop, 1000 * most) };
    record.textContent = "■ Stop";
    upload.disabled = true;
    message.textContent = "recording …";
    put({ state: "recording", error: "", wav: nothing() });
  }

  function stop() {
    const was = release();
    if (!was) return;
    const track = was.stream.getAudioTracks()[0], settings = track.getSettings();
    try {
      keep({ blocks: was.blocks, rate: was.context.sampleRate }, { device: track.label, processed: Boolean(settings.autoGainControl || settings.noiseSuppression || settings.echoCancellation) });
    } catch (error) { fail(error); }
  }

  record.onclick = async () => {
    if (busy) return;
    busy = true;
    try { live ? stop() : await start(); } catch (error) { release(); fail(error); } finally { busy = false; }
  };
  upload.onchange = async () => {
    const [file] = upload.files;
    if (!file) return;
    upload.value = "";  // so that the same file can be chosen again
    try {
      if (file.size > MAX_UPLOAD) throw new Error("this file is too long for the notebook's connection: cut it, or give its path to ser_utils.predict");
      keep(await decoded(await file.arrayBuffer()), { device: `upload: ${file.name}` });
    } catch (error) { fail(error); }
  };
  return () => { release(); if (url) URL.revokeObjectURL(url); };
}

export default { render };
