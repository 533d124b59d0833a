// AudioWorklet -> blocks of mono samples -> 16-bit WAV -> trait `wav`. Not MediaRecorder: its Opus encoding changes the MFCCs.
const WORKLET = `registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = new Float32Array(channels[0].length);
      for (const channel of channels) channel.forEach((x, i) => { mono[i] += x / channels.length; });
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
});`;
const MAX_BYTES = 9 * 2 ** 20;  // Jupyter drops messages above 10 MiB without an error
const MAX_UPLOAD_BYTES = 32 * 2 ** 20;  // the decoded samples need several times as much memory
const SILENT_PEAK = 0.003, CLIPPED_PEAK = 0.999;

function toWav(blocks, rate, count) {
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const writeText = (offset, text) => [...text].forEach((c, i) => view.setUint8(offset + i, c.charCodeAt(0)));
  writeText(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); writeText(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  writeText(36, "data"); view.setUint32(40, 2 * count, true);
  let offset = 44;
  for (const block of blocks) for (const x of block) {
    view.setInt16(offset, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true);
    offset += 2;
  }
  return view;
}

// Any format that the browser decodes: WAV, MP3, M4A, OGG, FLAC, WebM
async function decodeFile(buffer) {
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

function explainError(error) {
  if (error.name === "NotAllowedError") return "the browser denied access to the microphone: allow it beside the address, or upload a recording";
  if (error.name === "NotFoundError") return "no microphone found: connect one, or upload a recording";
  if (error.name === "EncodingError") return "the browser cannot decode this file: upload WAV, MP3, M4A or OGG";
  return error.message || String(error);
}

function render({ model, el }) {
  const record = Object.assign(document.createElement("button"), { textContent: "● Record", className: "ser-record" });
  const upload = Object.assign(document.createElement("input"), { type: "file", accept: "audio/*", className: "ser-upload" });
  const label = Object.assign(document.createElement("span"), { textContent: model.get("prompt") });
  const message = Object.assign(document.createElement("span"), { className: "ser-message", role: "status" });
  const player = Object.assign(document.createElement("audio"), { controls: true, hidden: true });
  upload.setAttribute("aria-label", "upload a recording");
  const row = document.createElement("div");  // the style of el belongs to the notebook
  row.style.cssText = "display: flex; flex-wrap: wrap; gap: .5em 1em; align-items: center";
  if (label.textContent) label.style.minWidth = "13em";  // aligns several recorders
  row.append(label, record, upload, message, player);
  el.append(row);
  let current = null, url = null, busy = false;

  const setTraits = (values) => { Object.entries(values).forEach(([name, value]) => model.set(name, value)); model.save_changes(); };
  const emptyWav = () => new DataView(new ArrayBuffer(0));
  const fail = (error) => { message.textContent = "⚠ " + explainError(error); setTraits({ state: "error", error: explainError(error), wav: emptyWav() }); };

  function save({ blocks, rate }, info) {
    const count = blocks.reduce((sum, block) => sum + block.length, 0), seconds = count / rate;
    if (44 + 2 * count > MAX_BYTES) throw new Error(`${seconds.toFixed(0)} s are too long for the notebook's connection: shorten the file, or pass its path to ser_utils.predict`);
    if (seconds < 0.1) throw new Error("nothing was recorded: record at least one second");
    const view = toWav(blocks, rate, count);
    const peak = blocks.reduce((top, block) => block.reduce((t, x) => Math.max(t, Math.abs(x)), top), 0);
    const note = peak < SILENT_PEAK ? ", silent: check which microphone the browser uses" : peak >= CLIPPED_PEAK ? ", clipped: move away from the microphone" : "";
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([view], { type: "audio/wav" }));
    Object.assign(player, { src: url, hidden: false });
    message.textContent = `${seconds.toFixed(2)} s at ${rate} Hz${note}`;
    setTraits({ wav: view, state: "ready", error: "", info: { ...info, rate, seconds, peak } });
  }

  function release() {
    const session = current;
    current = null;
    if (session) {
      clearTimeout(session.timer);
      session.stream.getTracks().forEach((track) => track.stop());
      session.node.disconnect();
      session.context.close();
    }
    record.textContent = "● Record";
    upload.disabled = false;
    return session;
  }

  async function start() {
    if (!navigator.mediaDevices) throw new Error("the browser offers microphones only over https or on localhost: open the page there, or upload a recording");
    // the browser's processing changes level and spectrum: automatic gain alone shifts MFCC 0 by tens of dB
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const context = new AudioContext();  // at the device's rate: Firefox rejects others
    try { await capture(stream, context); } catch (error) {  // otherwise the microphone would stay on
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      throw error;
    }
  }

  async function capture(stream, context) {
    const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try { await context.audioWorklet.addModule(module); } finally { URL.revokeObjectURL(module); }
    await context.resume();
    const blocks = [], node = new AudioWorkletNode(context, "recorder");
    node.port.onmessage = (event) => blocks.push(event.data);
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination);  // outputs silence; some browsers process only connected nodes
    const maxSeconds = Math.min(model.get("max_seconds"), MAX_BYTES / 2 / context.sampleRate - 1);
    current = { stream, context, node, blocks, timer: setTimeout(stop, 1000 * maxSeconds) };
    record.textContent = "■ Stop";
    upload.disabled = true;
    message.textContent = "recording …";
    setTraits({ state: "recording", error: "", wav: emptyWav() });
  }

  function stop() {
    const session = release();
    if (!session) return;
    const track = session.stream.getAudioTracks()[0], settings = track.getSettings();
    try {
      save({ blocks: session.blocks, rate: session.context.sampleRate }, { device: track.label, processed: Boolean(settings.autoGainControl || settings.noiseSuppression || settings.echoCancellation) });
    } catch (error) { fail(error); }
  }

  record.onclick = async () => {
    if (busy) return;
    busy = true;
    try { current ? stop() : await start(); } catch (error) { release(); fail(error); } finally { busy = false; }
  };
  upload.onchange = async () => {
    const [file] = upload.files;
    if (!file) return;
    upload.value = "";  // the same file can be chosen again
    try {
      if (file.size > MAX_UPLOAD_BYTES) throw new Error("this file is too long for the notebook's connection: shorten it, or pass its path to ser_utils.predict");
      save(await decodeFile(await file.arrayBuffer()), { device: `upload: ${file.name}` });
    } catch (error) { fail(error); }
  };
  return () => { release(); if (url) URL.revokeObjectURL(url); };
}

export default { render };
