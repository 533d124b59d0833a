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
const METER_DB = 60;  // the meter shows -60 to 0 dBFS
const METER_INTERVAL = 0.05;  // s

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

function create(tag, className, properties = {}, attributes = {}) {
  const element = Object.assign(document.createElement(tag), { className, ...properties });
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  return element;
}

function describe({ seconds, rate, peak, full, stored }) {
  const quality = peak < SILENT_PEAK ? ", silent: check which microphone the browser uses" : peak >= CLIPPED_PEAK ? ", clipped: move away from the microphone" : "";
  return `${seconds.toFixed(2)} s at ${rate} Hz${full ? ", stopped at the limit" : ""}${quality}${stored ? ", stored from the previous run" : ""}`;
}

function explainError(error) {
  if (error.name === "NotAllowedError") return "the browser denied access to the microphone: allow it beside the address, or upload a recording";
  if (error.name === "NotFoundError") return "no microphone found: connect one, or upload a recording";
  if (error.name === "EncodingError") return "the browser cannot decode this file: upload WAV, MP3, M4A or OGG";
  return error.message || String(error);
}

function render({ model, el }) {
  const prompt = model.get("prompt"), name = prompt.replace(/:$/, "");
  const row = create("div", "ser-recorder", {}, { role: "group", "aria-label": name || "recorder", "data-lm-suppress-shortcuts": "true" });  // the keys are not JupyterLab's
  row.style.cssText = "display: flex; flex-wrap: wrap; gap: .5em 1em; align-items: center";  // the style of el belongs to the notebook
  const label = create("span", "ser-prompt", { textContent: prompt });
  const record = create("button", "ser-record", { type: "button" });
  const discard = create("button", "ser-discard", { type: "button", textContent: "Discard" }, { "aria-label": `discard the recording ${name}`.trim() });
  const upload = create("input", "ser-upload", { type: "file", accept: "audio/*" }, { "aria-label": `upload a recording ${name}`.trim() });
  const time = create("span", "ser-time", {}, { role: "timer" });
  const level = create("meter", "ser-level", { min: -METER_DB, max: 0, low: -40, high: -1, optimum: -12, value: -METER_DB }, { "aria-label": "input level in dB relative to full scale", title: "input level, -60 to 0 dBFS" });
  const clipping = create("strong", "ser-clipping", {}, { role: "status" });
  const message = create("span", "ser-message", {}, { role: "status" });
  const player = create("audio", "ser-player", { controls: true }, { "aria-label": `play the recording ${name}`.trim() });
  const callbackText = create("pre", "ser-callback-text", {}, { role: "status", "aria-label": "prediction" });
  callbackText.style.cssText = "margin: .3em 0; white-space: pre-wrap";
  time.style.fontVariantNumeric = "tabular-nums";
  level.style.width = "10em";
  player.style.height = "2.2em";
  if (prompt) label.style.minWidth = "13em";  // aligns several recorders
  row.append(label, record, discard, time, level, clipping, upload, message, player);
  el.append(row, callbackText);
  let current = null, url = null, busy = false, isDisposed = false;

  const setTraits = (values) => { Object.entries(values).forEach(([trait, value]) => model.set(trait, value)); model.save_changes(); };
  const emptyWav = () => new DataView(new ArrayBuffer(0));
  const fail = (error) => { setTraits({ state: "error", error: explainError(error), info: {}, wav: emptyWav() }); show(); };

  // Shows the state of the model: a new recording, one stored from the previous run, or an error
  function show() {
    const wav = model.get("wav"), error = model.get("error"), isRecording = Boolean(current);
    const hasRecording = wav?.byteLength > 0 && !isRecording;
    if (url) URL.revokeObjectURL(url);
    url = hasRecording ? URL.createObjectURL(new Blob([wav], { type: "audio/wav" })) : null;
    if (url) player.src = url; else player.removeAttribute("src");
    player.hidden = discard.hidden = !hasRecording;
    level.hidden = clipping.hidden = !isRecording;
    upload.hidden = isRecording;
    record.textContent = isRecording ? "■ Stop" : "● Record";
    record.setAttribute("aria-label", `${isRecording ? "stop" : "record"} ${name}`.trim());
    if (!isRecording) time.textContent = hasRecording ? "" : `at most ${model.get("max_seconds")} s`;
    message.textContent = isRecording ? "recording …" : error ? "⚠ " + error : hasRecording ? describe(model.get("info")) : "";
    callbackText.textContent = isRecording ? "" : model.get("callback_text");
    callbackText.hidden = !callbackText.textContent;
  }

  function save({ blocks, rate }, info) {
    const count = blocks.reduce((sum, block) => sum + block.length, 0), seconds = count / rate;
    if (44 + 2 * count > MAX_BYTES) throw new Error(`${seconds.toFixed(0)} s are too long for the notebook's connection: shorten the file, or pass its path to ser_utils.predict`);
    if (seconds < 0.1) throw new Error("nothing was recorded: record at least one second");
    const peak = blocks.reduce((top, block) => block.reduce((t, x) => Math.max(t, Math.abs(x)), top), 0);
    setTraits({ state: "ready", error: "", info: { ...info, rate, seconds, peak }, wav: toWav(blocks, rate, count) });
    show();
  }

  function release() {
    const session = current;
    current = null;
    if (session) {
      session.stream.getTracks().forEach((track) => { track.onended = null; track.stop(); });
      session.node.port.onmessage = null;
      session.node.disconnect();
      session.context.close();
    }
    return session;
  }

  async function start() {
    if (!navigator.mediaDevices) throw new Error("the browser offers microphones only over https or on localhost: open the page there, or upload a recording");
    // the browser's processing changes level and spectrum: automatic gain alone shifts MFCC 0 by tens of dB
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    if (isDisposed) return stream.getTracks().forEach((track) => track.stop());  // the cell was run again meanwhile
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
    const rate = context.sampleRate, blocks = [], node = new AudioWorkletNode(context, "recorder");
    const maxSeconds = Math.min(model.get("max_seconds"), MAX_BYTES / 2 / rate - 1);
    let count = 0, drawn = 0, peak = 0;
    const draw = () => {
      time.textContent = `${(count / rate).toFixed(1)} of ${+maxSeconds.toFixed(1)} s`;
      level.value = Math.max(-METER_DB, 20 * Math.log10(peak + 1e-9));
      if (peak >= CLIPPED_PEAK) clipping.textContent = "clipping";
      drawn = count; peak = 0;
    };
    node.port.onmessage = ({ data }) => {
      blocks.push(data);
      count += data.length;
      peak = data.reduce((top, x) => Math.max(top, Math.abs(x)), peak);
      if (count - drawn >= METER_INTERVAL * rate) draw();
      if (count >= maxSeconds * rate) { current.isFull = true; stop(); }
    };
    current = { stream, context, node, blocks };
    stream.getAudioTracks()[0].onended = stop;  // the microphone was unplugged
    clipping.textContent = "";
    draw();
    setTraits({ state: "recording", error: "", callback_text: "", info: {}, wav: emptyWav() });
    show();
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination);  // outputs silence; some browsers process only connected nodes
  }

  function stop() {
    const session = release();
    if (!session) return;
    const track = session.stream.getAudioTracks()[0], settings = track.getSettings();
    try {
      save({ blocks: session.blocks, rate: session.context.sampleRate }, { device: track.label, full: Boolean(session.isFull), processed: Boolean(settings.autoGainControl || settings.noiseSuppression || settings.echoCancellation) });
    } catch (error) { fail(error); }
  }

  record.onclick = async () => {
    if (busy) return;
    busy = true;
    try { if (current) stop(); else await start(); } catch (error) { release(); fail(error); } finally { busy = false; }
  };
  discard.onclick = () => {
    setTraits({ state: "idle", error: "", callback_text: "", info: {}, wav: emptyWav() });
    show();
    record.focus();  // the button that had the focus is hidden now
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
  const showCallbackText = () => { if (!current) { callbackText.textContent = model.get("callback_text"); callbackText.hidden = !callbackText.textContent; } };
  model.on("change:callback_text", showCallbackText);
  show();
  return () => { isDisposed = true; model.off("change:callback_text", showCallbackText); release(); if (url) URL.revokeObjectURL(url); };
}

export default { render };
