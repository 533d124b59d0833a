// Connects inputs, classifier and views.

import { DASHES, ProbabilityView, SignalView, emotionColor } from "./charts.js";
import { Classifier } from "./classifier.js";
import { MelSpectrogram, SR, peakOf } from "./dsp.js";
import { Microphone, formatError, readFile } from "./input.js";
import { EMOTIONS, FIVE_EMOTIONS, RecentPeak, Windower, decodeProbabilities, describeWindow } from "./stream.js";
import { Trials } from "./trials.js";

const $ = (id) => document.getElementById(id);
const SENTENCE = "“Kids are talking by the door.”", N_NEUTRAL = 3, ANNOUNCEMENT_INTERVAL = 5000; // ms
const REASONS = {
  silence: "No speech in this window.", short: "Too little speech in this window.",
  "out of distribution": "Out of distribution (noise, music or speech unlike the training data): no prediction.",
  "low confidence": "Low confidence (no emotion reaches 30 %): no prediction." };
const MAX_QUEUE = 4, MAX_CLIP_SECONDS = 6, CLIPPING_PEAK = 0.99;
const signal = new SignalView($("signal")), probabilities = new ProbabilityView($("probabilities")), microphone = new Microphone(), trials = new Trials();
let isStarting = false, classifier = null, session = null, recording = null;
let neutralClips = null; // while a speaker is enrolled

// State that tests and the browser console read
export const state = { windows: [], nSkipped: 0, milliseconds: [], delays: [], nSamples: () => session?.nSamples ?? 0 };
window.ser = state;

function showError(error) {
  $("error").textContent = formatError(error);
  $("error").hidden = false;
}

// Announce to screen readers: at most once in five seconds, never during a recording.
let lastAnnouncement = { text: "", time: 0 };
function announce(text, isFinal = false) {
  const isDue = performance.now() - lastAnnouncement.time > ANNOUNCEMENT_INTERVAL && text !== lastAnnouncement.text;
  if (recording || !(isFinal || isDue)) return;
  lastAnnouncement = { text, time: performance.now() };
  $("announcement").textContent = text;
}

// Run a user action and show its error; the page stays usable.
const action = (run) => async (event) => {
  $("error").hidden = true;
  try { await run(event); } catch (error) { if (error.name !== "AbortError") showError(error); }
};

async function loadModel() {
  const name = document.querySelector("input[name=model]:checked").value;
  if (classifier.name === name) return;
  if (!isSecureContext) throw new Error("the page needs https or localhost: open it there");
  if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly: update it or use another one");
  $("loading").hidden = false;
  announce("loading the model", true);
  try { await classifier.load(name); } finally { $("loading").hidden = true; }
  $("reset-speaker").hidden = true;
  if (trials.next) promptTrial();
  else $("prompt").textContent = "";
}

// The selected model is loaded at its first use.
function changeModel() {
  stopMicrophone();
  const wasAdapted = !$("reset-speaker").hidden;
  $("reset-speaker").hidden = $("next").hidden = true;
  neutralClips = null;
  $("prompt").textContent = `The model changes at the next start.${wasAdapted ? " The adaptation to your voice is removed." : ""}`;
}

function showProgress(loaded, total) {
  $("progress").value = loaded / total;
  $("loaded").textContent = `${(loaded / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`;
}

// A session: one continuous signal and its windows.
function beginSession() {
  session = { windower: new Windower(), mel: new MelSpectrogram(), recentPeak: new RecentPeak(), queue: [], isBusy: false, nSamples: 0, isActive: true };
  Object.assign(state, { windows: [], nSkipped: 0, milliseconds: [], delays: [] });
  signal.reset();
  probabilities.reset();
  $("summary").textContent = "";
  return session;
}

function receive(current, block) {
  if (current !== session || !current.isActive) return;
  session.nSamples += block.length;
  signal.push(block, session.mel.push(block));
  showLevel(peakOf(block));
  if (recording?.owner === current) recording.blocks.push(block);
  const arrivalTime = performance.now();
  for (const window of session.windower.push(block)) enqueue({ ...window, arrivalTime });
}

function enqueue(window) {
  session.queue.push(window);
  while (session.isLive && session.queue.length > MAX_QUEUE) { session.queue.shift(); state.nSkipped++; }
  classifyQueue(session);
}

async function classifyQueue(current) {
  if (current.isBusy) return;
  current.isBusy = true;
  try {
    while (current.queue.length && current === session) {
      const window = current.queue.shift(), output = await classifier.predict(window.samples);
      const result = describeWindow(window, output, classifier.classes, current.recentPeak.push(output.peak));
      if (current === session) show(result, output.milliseconds, performance.now() - window.arrivalTime);
    }
  } catch (error) {
    current.queue.length = 0;
    current.isActive = false;
    showError(error);
  } finally {
    current.isBusy = false;
  }
}

function show(result, milliseconds, delay) {
  state.windows.push(result);
  state.windows.splice(0, state.windows.length - 1000);
  for (const [list, value] of [[state.milliseconds, milliseconds], [state.delays, delay]]) { list.push(value); list.splice(0, list.length - 100); }
  probabilities.push(result);
  showPrediction(result);
  addRow(result);
  const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;
  $("timing").textContent = `Window of 3 s every 0.5 s. Computation ${mean(state.milliseconds).toFixed(0)} ms per window, ` +
    `${mean(state.delays).toFixed(0)} ms from its last sample to the result; ${state.nSkipped} windows skipped.`;
}

function showPrediction(result) {
  const isShown = result.emotion && !result.abstention, p = result.probabilities?.[result.emotion];
  $("emotion").textContent = isShown ? result.emotion : "–";
  $("emotion").style.color = isShown ? emotionColor(result.emotion) : "";
  $("reason").textContent = REASONS[result.abstention] ?? `Probability ${percent(p)} %`;
  $("gender").textContent = isShown ? result.gender : "–";
  $("code").textContent = !isShown ? "–" : FIVE_EMOTIONS.includes(result.emotion) ?
    `${result.code} ${result.class.replace("_", " ")}` : `– (no code for ${result.emotion})`;
  showBars(result.probabilities);
  announce(isShown ? `${result.emotion}, ${percent(p)} percent, ${result.gender}` : `no prediction: ${result.abstention}`);
}

// Mean over the windows of a recording that have a prediction.
function showSummary(windows) {
  const predicted = windows.filter((window) => window.probabilities && !window.abstention);
  const mean = Object.fromEntries(EMOTIONS.map((name) => [name, predicted.reduce((sum, { probabilities: p }) => sum + p[name] / predicted.length, 0)]));
  const best = EMOTIONS.reduce((a, b) => (mean[b] > mean[a] ? b : a));
  $("summary").textContent = !predicted.length ? "Whole recording: no window with a prediction." :
    `Whole recording: ${predicted.length} of ${windows.length} windows with a prediction; highest mean probability ${best}, ${percent(mean[best])} %.`;
  announce($("summary").textContent, true);
}

const percent = (p) => (100 * p).toFixed(0);

function createLegend() {
  EMOTIONS.forEach((emotion, i) => {
    const item = document.createElement("span"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 28, y1: 5, y2: 5, "stroke-width": 2, "stroke-dasharray": DASHES[i].join(" ") })) line.setAttribute(name, value);
    line.style.stroke = `var(--${emotion})`;
    svg.setAttribute("width", 28);
    svg.setAttribute("height", 10);
    svg.setAttribute("aria-hidden", "true");
    svg.append(line);
    item.append(svg, ` ${emotion}`);
    $("legend").append(item);
  });
}

function createBars() {
  for (const emotion of EMOTIONS) {
    const row = $("bars").tBodies[0].insertRow(), name = document.createElement("th"), bar = document.createElement("div");
    Object.assign(name, { scope: "row", textContent: emotion });
    bar.className = "bar";
    bar.style.background = `var(--${emotion})`;
    row.append(name);
    row.insertCell().append(bar);
    row.insertCell().textContent = "–";
  }
}

function showBars(p) {
  EMOTIONS.forEach((emotion, i) => {
    const [, bar, value] = $("bars").rows[i].cells;
    bar.firstChild.style.width = p ? `${100 * p[emotion]}%` : "0";
    value.textContent = p ? `${percent(p[emotion])} %` : "–";
  });
}

function addRow(result) {
  const row = $("windows").tBodies[0].insertRow(0), p = result.probabilities;
  for (const text of [result.start.toFixed(1), result.emotion ?? "–", p ? percent(p[result.emotion]) : "–", result.gender ?? "–", result.code ?? "–", result.abstention ?? ""])
    row.insertCell().textContent = text;
  if ($("windows").tBodies[0].rows.length > 20) $("windows").tBodies[0].deleteRow(20);
}

function showLevel(peak) {
  const db = 20 * Math.log10(Math.max(peak, 1e-3));
  $("level").value = db;
  if (peak >= CLIPPING_PEAK) { $("clipping").hidden = false; session.clippedAt = performance.now(); }
  else if (performance.now() - (session.clippedAt ?? 0) > 2000) $("clipping").hidden = true;
  if (performance.now() - (session.levelAt ?? 0) > 500) { $("level-text").textContent = `${db.toFixed(0)} dBFS`; session.levelAt = performance.now(); }
}

async function startMicrophone() {
  await loadModel();
  const current = beginSession();
  current.isLive = true;
  await microphone.start((block) => receive(current, block), onDisconnect);
  $("microphone").textContent = "Stop microphone";
}

// A second click during the start would start the microphone twice.
async function startOnce() {
  if (isStarting) throw new DOMException("the microphone is starting", "AbortError");
  isStarting = true;
  try { await startMicrophone(); } finally { isStarting = false; }
}

function stopMicrophone() {
  microphone.stop();
  if (session?.isLive) session.isActive = false;
  $("microphone").textContent = "Start microphone";
  $("level").value = -60;
  $("level-text").textContent = "no input";
}

// Classify a whole recording as fast as possible.
async function classifyRecording(blob, name) {
  stopMicrophone();
  const y = await readFile(Object.assign(blob, blob.name ? {} : { name }));
  await loadModel();
  stopMicrophone();
  const current = beginSession();
  URL.revokeObjectURL($("player").src);
  $("player").src = URL.createObjectURL(blob);
  $("player").hidden = false;
  const isCurrent = () => current === session && current.isActive;
  for (let start = 0; start < y.length && isCurrent(); start += SR / 2) {
    receive(current, y.subarray(start, start + SR / 2));
    while (current.queue.length > 1 && isCurrent()) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (isCurrent()) for (const window of current.windower.finish()) enqueue({ ...window, arrivalTime: performance.now() });
  while ((current.isBusy || current.queue.length) && isCurrent()) await new Promise((resolve) => setTimeout(resolve, 5));
  if (isCurrent()) showSummary(state.windows);
}

function onDisconnect() {
  const error = new Error("the microphone was disconnected: connect it and start again");
  stopMicrophone();
  if (recording) recording.reject(error);
  else showError(error);
}

// Disable the controls that would interrupt a recording.
function setDisabled(isDisabled) {
  for (const element of document.querySelectorAll("#microphone, #file, #play-sample, #sample, input[name=model], #enroll, #reset-speaker, #trials, #download"))
    element.disabled = isDisabled;
}

// Record one clip from the microphone, at most MAX_CLIP_SECONDS.
async function recordClip() {
  const wasRunning = Boolean(microphone.stream);
  if (!wasRunning) await startOnce();
  setDisabled(true);
  $("next").textContent = "Stop";
  try {
    return await new Promise((resolve, reject) => {
      recording = { blocks: [], resolve, reject, owner: session, end: performance.now() + 1000 * MAX_CLIP_SECONDS };
      recording.timer = setTimeout(finishClip, 1000 * MAX_CLIP_SECONDS);
      showRemaining();
    });
  } finally {
    clearTimeout(recording.timer);
    recording = null;
    setDisabled(false);
    $("next").textContent = "Record";
    $("remaining").textContent = "";
    if (!wasRunning) stopMicrophone();
  }
}

function showRemaining() {
  if (!recording) return;
  $("remaining").textContent = `● Recording, ${Math.max(0, Math.ceil((recording.end - performance.now()) / 1000))} s left`;
  setTimeout(showRemaining, 250);
}

function finishClip() {
  const { blocks, resolve } = recording, samples = new Float32Array(blocks.reduce((n, block) => n + block.length, 0));
  blocks.reduce((offset, block) => { samples.set(block, offset); return offset + block.length; }, 0);
  resolve(samples);
}

function prompt(text) {
  $("prompt").textContent = text;
  $("next").hidden = !(neutralClips || trials.next);
  if (!$("next").hidden) $("next").focus();
}

const HOW_TO_RECORD = `Press Record, speak, press Stop (at most ${MAX_CLIP_SECONDS} s).`;

async function beginEnrollment() {
  await loadModel();
  neutralClips = [];
  promptNeutral();
}

function promptNeutral(before = "") {
  prompt(`${before}Neutral sentence ${neutralClips.length + 1} of ${N_NEUTRAL}: say ${SENTENCE} ${HOW_TO_RECORD}`);
}

async function beginTrials() {
  await loadModel();
  neutralClips = null;
  trials.begin();
  $("trials").textContent = "Start again (deletes the recordings)";
  showMatrix();
  promptTrial();
}

function promptTrial(before = "") {
  if (trials.next) return prompt(`${before}${EMOTIONS.length + 1 - trials.order.length} of ${EMOTIONS.length}: say ${SENTENCE} ${trials.next}. ${HOW_TO_RECORD}`);
  prompt(`${before}All eight emotions are recorded.`);
  return $("download").focus();
}

async function recordNext() {
  if (recording) return finishClip();
  const samples = await recordClip(), output = await classifier.predict(samples);
  if (!output.emotion) throw new Error("no speech was recorded: record this sentence again");
  return neutralClips ? addNeutral(samples) : addTrial(samples, output);
}

async function addNeutral(samples) {
  neutralClips.push(samples);
  if (neutralClips.length < N_NEUTRAL) return promptNeutral();
  await classifier.enroll(neutralClips);
  neutralClips = null;
  $("reset-speaker").hidden = false;
  prompt("The model is adapted to your voice.");
  return $("trials").focus();
}

function addTrial(samples, output) {
  const emotion = trials.next, prediction = decodeProbabilities(output, classifier.classes);
  trials.add(emotion, samples, { ...prediction, model: classifier.name, isAdapted: !$("reset-speaker").hidden });
  showMatrix();
  promptTrial(`Intended ${emotion}, predicted ${prediction.emotion}. `);
}

function showMatrix() {
  const matrix = trials.matrix, [head, body] = [$("counts").tHead, $("counts").tBodies[0]];
  head.replaceChildren();
  body.replaceChildren();
  const header = head.insertRow();
  for (const name of ["", ...EMOTIONS]) header.append(Object.assign(document.createElement(name ? "th" : "td"), { textContent: name, scope: "col" }));
  for (const emotion of EMOTIONS) {
    const row = body.insertRow();
    row.append(Object.assign(document.createElement("th"), { textContent: emotion, scope: "row" }));
    for (const predicted of EMOTIONS) {
      const count = matrix[emotion][predicted];
      Object.assign(row.insertCell(), { textContent: count || "", className: [emotion === predicted && "diagonal", count && "filled"].filter(Boolean).join(" ") });
    }
  }
  $("matrix").hidden = $("download").hidden = !trials.trials.length;
  $("score").textContent = !trials.trials.length ? "" : `${trials.correct} of ${trials.trials.length} recordings correct; 1 of 8 is expected by chance.`;
}

function download() {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(trials.archive()), download: "recordings.zip" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function connect() {
  $("microphone").onclick = action(() => (microphone.stream ? stopMicrophone() : startOnce()));
  $("file").onchange = action(async () => { const [file] = $("file").files; $("file").value = ""; if (file) await classifyRecording(file); });
  $("play-sample").onclick = action(async () => {
    const name = $("sample").value, response = await fetch(name);
    if (!response.ok) throw new Error(`${name} could not be loaded (${response.status}): reload the page`);
    await classifyRecording(await response.blob(), name);
  });
  for (const input of document.querySelectorAll("input[name=model]")) input.onchange = action(changeModel);
  $("enroll").onclick = action(beginEnrollment);
  $("reset-speaker").onclick = action(async () => { await classifier.resetSpeaker(); $("reset-speaker").hidden = true; $("prompt").textContent = "The adaptation was removed."; });
  $("trials").onclick = action(beginTrials);
  $("next").onclick = action(recordNext);
  $("download").onclick = action(download);
  const drop = $("drop");
  document.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  document.ondragleave = () => drop.classList.remove("over");
  document.ondrop = action(async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (recording) throw new Error("a recording is running: stop it before dropping a file");
    const [file] = event.dataTransfer.files;
    if (!file) throw new Error("the dropped item is not a file: drop an audio file");
    await classifyRecording(file);
  });
}

const darkMode = matchMedia("(prefers-color-scheme: dark)");
let lastViewState = "";

function drawLoop() { // draws only after a change
  const viewState = `${session?.nSamples} ${state.windows.length} ${innerWidth} ${darkMode.matches}`;
  if (!document.hidden && viewState !== lastViewState) {
    signal.draw();
    probabilities.draw((session?.nSamples ?? 0) / SR);
    lastViewState = viewState;
  }
  requestAnimationFrame(drawLoop);
}

async function main() {
  createBars();
  createLegend();
  const response = await fetch("models.json");
  if (!response.ok) throw new Error(`models.json could not be loaded (${response.status}): reload the page`);
  const models = await response.json();
  for (const [name, { files }] of Object.entries(models.models))
    $(`size-${name}`).textContent = `${((models.runtime.size + files.reduce((sum, file) => sum + file.size, 0)) / 1e6).toFixed(0)} MB`;
  for (const { path, title } of models.samples) $("sample").append(new Option(title, path));
  classifier = new Classifier(models, showProgress);
  connect();
  drawLoop();
  document.body.dataset.ready = "true";
  if ("serviceWorker" in navigator) await navigator.serviceWorker.register("sw.js").catch(() => {}); // only offline use is lost
}

action(main)();
