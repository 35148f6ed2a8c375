// The page: where the sound comes from, the socket to the service, and what the reader moves.

import {AMOUNT, History, SECOND} from "./history.js";
import {FRAME, RATE, mono, whole} from "./microphone.js";
import {draw, room, under} from "./pictures.js";

const CREDIT = 64;  // frames of cells on the way at most, two seconds: what is not drawn in time is not sent at all
const STUCK = 10 * 2 * RATE;  // bytes: so much sound of a microphone may wait to be sent

const part = id => document.getElementById(id);
const say = (text, isBad = false) => {
  part("status").textContent = text;
  part("status").classList.toggle("bad", isBad);
};
const seconds = frames => `${(frames / SECOND).toFixed(2)} s`;

let history = new History(), stop, renew = () => {}, credit = 0, isStale = true;
const view = {start: 0, threshold: 0.5, segments: [], mark: undefined, isLive: true};

// ---- the socket

/** Open a session. `begin(send, end)` starts the sound, of so many frames if they are known; `finish` stops it. */
function stream(begin, finish, frames) {
  const address = new URL("stream" + location.search, location.href).href.replace(/^http/, "ws");
  const socket = new WebSocket(address);
  let ending = "";
  const end = why => { ending ||= why; socket.close(1000); };
  const send = frame => {
    if (socket.readyState !== WebSocket.OPEN) return 0;
    history.hear(frame);
    socket.send(frame);
    return socket.bufferedAmount;
  };
  socket.binaryType = "arraybuffer";
  running(() => end("Stopped"));
  say("Connecting…");
  renew = () => {
    if (socket.readyState !== WebSocket.OPEN || !history.units || credit > CREDIT / 2) return;
    credit = CREDIT;
    socket.send(JSON.stringify({cells: CREDIT}));
  };
  socket.onmessage = ({data}) => {
    isStale = true;
    try {
      if (typeof data === "string") read(JSON.parse(data), () => begin(send, end));
      else answer(new Float32Array(data));
    } catch (error) {
      end(`The service's message is not understood: ${error.message}`);
      return;
    }
    say(frames ? `${seconds(history.frames)} of ${seconds(frames)}` : `Listening: ${seconds(history.frames)}`);
    if (history.frames === frames) end("Done");
  };
  socket.onclose = ({code, reason}) => {
    finish();
    running();
    history.sort();
    isStale = true;
    const isShort = /^(Done|Stopped)$/.test(ending);
    if (ending) say(isShort ? `${ending}: ${seconds(history.frames)}.` : ending, !isShort);
    else say(`The service closed the connection: ${code} ${reason || "it cannot be reached, or refuses this page"}`, true);
  };
}

/** Read a message in words: the greeting, or what the cells did. */
function read(message, begin) {
  if ("token" in message) {
    history = new History(message.units);
    Object.assign(view, {start: 0, mark: undefined, isLive: true});
    part("units").textContent = message.units;
    credit = 0;
    renew();
    begin();
  } else {
    history.look(message.first, Uint8Array.from(atob(message.cells), letter => letter.charCodeAt(0)));
  }
}

function answer(probabilities) {
  history.answer(probabilities);
  credit -= probabilities.length;
}

/** Tell the buttons what can be pressed; `how` stops what is running. */
function running(how) {
  const focused = document.activeElement;
  stop = how;
  for (const id of ["microphone", "sample", "own"]) part(id).disabled = Boolean(how);
  part("stop").disabled = !how;
  if (how && focused?.disabled) part("stop").focus();
  if (!how && focused === part("stop")) part("microphone").focus();
}

/** Do what comes before a session and may take long; `work` asks whether it is still wanted, and `explain`s errors. */
async function prepare(work, explain) {
  let isWanted = true;
  running(() => { isWanted = false; running(); say("Stopped."); });
  try {
    await work(() => isWanted);
  } catch (error) {
    if (!isWanted) return;
    running();
    say(explain(error), true);
  }
}

// ---- where the sound comes from

function play(pcm, player) {
  const frames = Math.floor(pcm.length / FRAME);
  if (!frames) throw new Error("it is shorter than a frame, 0.03 s");
  let timer;
  const begin = send => {
    const start = performance.now();
    let sent = 0;
    timer = setInterval(() => {
      while (sent < frames && performance.now() - start >= sent * FRAME / RATE * 1000)
        send(pcm.slice(sent * FRAME, ++sent * FRAME));
    }, 16);
    player.play().catch(() => {});  // without loudspeakers it goes on in silence
  };
  stream(begin, () => { clearInterval(timer); player.pause(); URL.revokeObjectURL(player.src); }, frames);
}

const run = bytes => prepare(async isWanted => {
  const data = await bytes(), player = new Audio(URL.createObjectURL(new Blob([data])));
  const audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(data);  // resampled to RATE
  const channels = Array.from({length: audio.numberOfChannels}, (_, n) => audio.getChannelData(n));
  if (isWanted()) play(Int16Array.from(mono(channels), whole), player);
}, error => `This cannot be streamed: ${error.message}`);

async function sample() {
  const answer = await fetch("sample.wav");
  if (!answer.ok) throw new Error("the service has no sample");
  return answer.arrayBuffer();
}

const REFUSED = {
  NotAllowedError: "The microphone was refused. Allow it for this page in the browser's address bar, then press Microphone.",
  NotFoundError: "No microphone was found. Connect one, or stream a WAV file.",
  NotReadableError: "The microphone cannot be read: another program may have it.",
};
const ONLY_THERE = "Browsers give a microphone only to pages at https:// or http://localhost. Open this page there, or "
  + "stream a WAV file.";

function listen() {
  if (!isSecureContext || !navigator.mediaDevices || !window.AudioWorkletNode) return say(ONLY_THERE, true);
  let context, media;
  const release = () => { media?.getTracks().forEach(track => track.stop()); context?.close(); };
  return prepare(async isWanted => {
    say("Waiting for the microphone: the browser asks whether this page may use it.");
    try {
      media = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: false, noiseSuppression: false}});
      context = new AudioContext();
      await context.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
      if (isWanted()) hear(context, media, release); else release();
    } catch (error) {
      release();
      throw error;
    }
  }, error => REFUSED[error.name] ?? `The microphone cannot be used: ${error.message}`);
}

function hear(context, media, release) {
  const worklet = new AudioWorkletNode(context, "microphone", {numberOfOutputs: 0});
  stream((send, end) => {
    worklet.port.onmessage = ({data}) => {
      if (send(data) > STUCK) end("Stopped: the connection is too slow for the microphone.");
    };
    media.getTracks().forEach(track => { track.onended = () => end("Stopped: the microphone went away."); });
    context.createMediaStreamSource(media).connect(worklet);
    context.resume();
  }, release);
}

// ---- what the reader moves

function setThreshold(value) {
  view.threshold = Math.min(0.95, Math.max(0.05, Math.round(value * 100) / 100));
  part("threshold").value = view.threshold;
  part("threshold-value").textContent = view.threshold.toFixed(2);
  isStale = true;
}

function lookAt(frame) {
  const last = Math.max(history.first, history.frames - room());
  view.start = Math.min(last, Math.max(history.first, frame));
  view.isLive = view.start === last;
  isStale = true;
}

function setMark(frame, row) {
  const last = Math.min(history.frames, view.start + room()) - 1;
  view.mark = last < view.start ? undefined : {
    frame: Math.min(last, Math.max(view.start, frame)),
    row: row === undefined ? undefined : Math.min(history.units - 1, Math.max(0, row)),
  };
  isStale = true;
}

const KEYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

for (const id of ["speech", "cells"]) {
  const canvas = part(id), rowOf = height => id === "cells" ? Math.floor(height * history.units) : undefined;
  let isDragging = false;
  canvas.addEventListener("pointerdown", event => {
    const near = Math.abs(1 - under(canvas, event, view).height - view.threshold) * canvas.clientHeight < 14;
    isDragging = id === "speech" && event.pointerType !== "touch" && near;
    if (isDragging) canvas.setPointerCapture(event.pointerId);
  });
  for (const name of ["pointerdown", "pointermove"])
    canvas.addEventListener(name, event => {
      const {frame, height} = under(canvas, event, view);
      if (isDragging) setThreshold(1 - height); else setMark(frame, rowOf(height));
    });
  canvas.addEventListener("pointerup", () => { isDragging = false; });
  canvas.addEventListener("pointercancel", () => { isDragging = false; });
  canvas.addEventListener("keydown", event => {
    const move = KEYS[event.key];
    if (!move) return;
    event.preventDefault();
    const mark = view.mark ?? {frame: view.start, row: id === "cells" ? 0 : undefined}, fast = event.shiftKey ? 10 : 1;
    if (id === "speech" && move[1]) setThreshold(view.threshold - 0.01 * fast * move[1]);
    else setMark(mark.frame + fast * move[0], id === "cells" ? (mark.row ?? 0) + fast * move[1] : undefined);
  });
}

part("threshold").addEventListener("input", event => setThreshold(Number(event.target.value)));
part("back").addEventListener("input", event => lookAt(Number(event.target.value)));
part("microphone").addEventListener("click", listen);
part("stop").addEventListener("click", () => stop?.());
part("own").addEventListener("click", () => part("file").click());
part("file").addEventListener("change", event => {
  const [file] = event.target.files;
  if (file && !stop) run(() => file.arrayBuffer());
  event.target.value = "";  // so that the same file can be chosen again
});
part("sample").addEventListener("click", () => run(sample));

// ---- what is shown

function readout() {
  const {mark} = view;
  if (!mark) return;
  const told = history.cells(mark.frame), at = seconds(mark.frame);
  let text = `${at}: probability ${history.at(mark.frame).toFixed(3)}`;
  if (mark.row !== undefined) {
    const unit = history.order[mark.row], life = history.halfLife(unit);
    const [kept, added, taken] = told ? history.row(told, unit).map(byte => byte ? AMOUNT[byte].toPrecision(2) : "0") : [];
    text = `${at}, cell ${unit}: ` + (told ? `kept ${kept}, added ${added}, taken away ${taken}` : "not sent")
      + (life > 0 ? `; half of its memory goes in ${life < 1200 ? `${life.toPrecision(2)} s` : "20 minutes or more"}` : "");
  }
  if (part("readout").textContent !== text) part("readout").textContent = text;
}

function listSegments(isOpen) {
  const list = part("segments"), shown = view.segments.slice(-100);
  part("no-segments").hidden = Boolean(shown.length);
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach(([start, end], n) => {
    if (!list.children[n]) {
      const item = list.appendChild(document.createElement("li"));
      item.innerHTML = "<button><b></b><span></span></button>";
      item.firstChild.onclick = () => lookAt(item.start - Math.round(SECOND));
    }
    const item = list.children[n], isLast = isOpen && end === history.frames;
    item.start = start;
    const texts = [`${seconds(start).slice(0, -2)} – ${isLast ? "now" : seconds(end)}`, seconds(end - start)];
    [...item.firstChild.children].forEach((each, k) => { if (each.textContent !== texts[k]) each.textContent = texts[k]; });
  });
}

function slide() {
  const last = Math.max(history.first, history.frames - room()), back = part("back");
  view.start = view.isLive ? last : Math.max(history.first, view.start);
  part("back-label").hidden = last <= history.first;
  Object.assign(back, {min: history.first, max: last});
  back.value = view.start;
  part("back-value").textContent = seconds(view.start);
}

function tellLost() {
  part("lost").hidden = !history.lost;
  part("lost").textContent = `${history.lost} frames of the strip were left out: this page was not in sight, or it or its `
    + "connection is too slow for them. The probabilities are complete.";
}

function show() {
  renew();
  if (isStale) {
    isStale = false;
    view.segments = history.segments(view.threshold);
    slide();
    draw(history, view);
    listSegments(Boolean(stop));
    readout();
    tellLost();
  }
  requestAnimationFrame(show);
}

new ResizeObserver(() => { isStale = true; }).observe(part("speech"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { isStale = true; });
setThreshold(0.5);
show();

// for tests, and for the curious
window.live = {
  probabilities: () => Array.from({length: history.frames}, (_, frame) => history.at(frame)),
  segments: () => view.segments,
  history: () => history,
};
