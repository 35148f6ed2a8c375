// Heat maps of an LSTM's gates: everything is in this file, nothing is asked of a network.
//
// Why no plotting library: the large ones put megabytes of their own into every page (4.8 for Plotly), take each number as text, and draw heat maps
// of a million cells by leaving some out. Here what does not fit is brought together by mean, least or largest, as the numbers themselves were.
"use strict";
(() => {
  const GATES = ["i", "f", "g", "o", "c", "h"], AMOUNTS = ["kept", "forgotten", "added", "taken"];
  const NAMES = {
    f: "forget gate: how much is kept", i: "input gate: how much is written", g: "candidate: what is written",
    o: "output gate: how much is shown", c: "cell", h: "output", cell: "what becomes of the cell",
  };
  const LINE = 14; // pixels of a line of names
  const SHOWN = ["f", "i", "g", "o", "c", "h", "cell"];
  const FULL = 65000, OVER = 65532, MINUS = 65533, PLUS = 65534; // numbers above FULL stand for what has no size; 65535: NaN
  const byId = (id) => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), props);
    made.append(...children);
    return made;
  };
  const data = JSON.parse(byId("data").textContent);
  const state = { entry: 0, layer: 0, direction: 0, row: 0, t0: 0, t1: 1, u0: 0, u1: 1, column: 0, place: 0, unit: 0, chosen: false };
  const panels = new Map(), blocks = new Map();
  let entry, block, order = [], colours = {}, pending = false;

  // ---- numbers

  function blockOf() {
    const id = `block-${state.entry}-${state.layer}-${state.direction}-${state.row}`;
    if (!blocks.has(id)) {
      const text = atob(byId(id).textContent.trim()), bytes = new Uint8Array(text.length);
      for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
      if (blocks.size > 3) blocks.clear(); // one is enough; some, so that going back is quick
      blocks.set(id, decoded(bytes.buffer));
    }
    return blocks.get(id);
  }

  function decoded(buffer) {
    const K = entry.units.length, N = entry.columns, arrays = {}, kinds = entry.exact ? ["mean"] : ["mean", "low", "high"];
    const names = [...GATES.flatMap((name) => kinds.map((kind) => `${name} ${kind}`)), ...AMOUNTS.map((name) => `${name} mean`)];
    names.forEach((name, a) => {
      const low = new Float32Array(buffer, a * 8 * K, K), high = new Float32Array(buffer, a * 8 * K + 4 * K, K);
      const codes = new Uint16Array(buffer, 8 * K * names.length + 2 * a * K * N, K * N);
      arrays[name] = { low, step: high.map((top, k) => (top - low[k]) / FULL), high, codes };
    });
    const found = { arrays, N, K };
    found.largest = (name) => Float32Array.from({ length: K }, (_, k) => Math.max(...kinds.map((kind) => {
      const array = arrays[`${name} ${kind}`] || arrays[`${name} mean`];
      return Math.max(Math.abs(array.low[k]), Math.abs(array.high[k]));
    })));
    found.written = Float32Array.from({ length: K }, (_, k) => Math.max(arrays["added mean"].high[k], arrays["taken mean"].high[k]));
    return found;
  }

  const arrayOf = (name, kind) => block.arrays[`${name} ${kind}`] || block.arrays[`${name} mean`];

  /** A number; undefined where the row is over. */
  function value(array, unit, column) {
    const code = array.codes[unit * block.N + column];
    if (code <= FULL) return array.low[unit] + code * array.step[unit];
    return code === OVER ? undefined : code === MINUS ? -Infinity : code === PLUS ? Infinity : NaN;
  }

  /** One number for a rectangle of columns and units. */
  function together(array, kind, places, column, end) {
    let total = 0, count = 0, least = Infinity, most = -Infinity;
    for (const unit of places) {
      for (let n = column; n < end; n++) {
        const one = value(array, unit, n);
        if (one === undefined) continue;
        if (Number.isNaN(one)) return NaN;
        total += one; count++;
        if (one < least) least = one;
        if (one > most) most = one;
      }
    }
    return count ? (kind === "low" ? least : kind === "high" ? most : total / count) : undefined;
  }

  function mean(unit, name) {
    return together(arrayOf(name, "mean"), "mean", [unit], 0, block.N) || 0;
  }

  function sorted() {
    const lives = entry.halfLife[state.layer][state.direction].map((life) => (life === null ? NaN : life === "inf" ? Infinity : life));
    const units = entry.units.map((_, k) => k), how = byId("order").value;
    const keys = {
      long: (k) => -lives[k], short: (k) => lives[k], number: () => 0,
      written: (k) => -(mean(k, "added") + mean(k, "taken")), cell: (k) => -(mean(k, "kept") + mean(k, "added") - mean(k, "taken")),
    };
    const key = units.map(keys[how]);
    const rank = (k) => (Number.isNaN(key[k]) ? 1 : 0); // NaN last
    return units.sort((a, b) => rank(a) - rank(b) || (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : a - b));
  }

  // ---- words

  function short(number, digits = 3) {
    if (number === undefined) return "–";
    if (!Number.isFinite(number)) return String(number).replace("Infinity", "∞");
    const size = Math.abs(number);
    return size && (size < 1e-3 || size >= 1e5) ? number.toExponential(2) : String(Number(number.toPrecision(digits)));
  }

  /** A label with nothing that cannot be seen, or that turns what stands beside it around. */
  const MARKS = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };
  const visible = (label) => label.replace(/[\s\p{C}]/gu, (one) => MARKS[one] || `\\u{${one.codePointAt(0).toString(16)}}`);

  const lifeOf = (unit) => {
    const life = entry.halfLife[state.layer][state.direction][unit];
    return life === null ? "NaN" : life === "inf" ? "∞" : short(life);
  };
  const firstStep = (column) => entry.start + column * entry.width * entry.every;
  const lastStep = (column) => entry.start + (Math.min((column + 1) * entry.width, entry.kept) - 1) * entry.every;
  const timeOf = (step) => (data.seconds === null ? String(step) : `${short(step * data.seconds, 6)} s`);
  const labels = () => entry.labels && (entry.labels.all || entry.labels.rows[state.row]);
  function stepText(column) {
    const from = firstStep(column), to = lastStep(column);
    const steps = from === to ? `step ${from}` : `steps ${from} to ${to}`;
    return data.seconds === null ? steps : `${steps}, ${timeOf(from)}`;
  }

  // ---- colours

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["zero", "gate", "minus", "plus", "kept", "added", "taken", "nan", "over", "cell", "line", "ink"]) {
      const hex = style.getPropertyValue(`--${name}`).trim();
      colours[name] = [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
    }
  }

  const mixed = (a, b, share) => [0, 1, 2].map((k) => a[k] + (b[k] - a[k]) * Math.min(1, Math.max(0, share)));
  const css = (name) => `rgb(${colours[name].join(" ")})`;

  /** The ends of a picture's colours: 0 to 1 for gates, else from the same below zero as above. */
  function rangeOf(name) {
    const sizes = block.largest(name), all = Math.max(...sizes) || 1;
    if (name === "c") return { signed: true, top: (k) => (byId("scale").value === "unit" ? sizes[k] || 1 : all), text: byId("scale").value === "unit" ? "its largest" : short(all) };
    const kinds = entry.exact ? ["mean"] : ["mean", "low", "high"];
    const below = kinds.some((kind) => arrayOf(name, kind).low.some((low) => low < 0)), signed = below || name === "g" || name === "h";
    const top = Math.max(1, all);
    return { signed, top: () => top, text: short(top) };
  }

  function colourOf(name, range, unit, number) {
    if (number === undefined) return colours.over;
    if (Number.isNaN(number)) return colours.nan;
    const share = number / range.top(unit);
    return range.signed ? mixed(colours.zero, share < 0 ? colours.minus : colours.plus, Math.abs(share)) : mixed(colours.zero, colours.gate, share);
  }

  /** What a cell keeps as a shade, and over it what is added or taken, each beside the unit's largest. */
  function colourOfCell(kept, added, taken, mostKept, mostWritten) {
    if (kept === undefined) return colours.over;
    if (Number.isNaN(kept + added + taken)) return colours.nan;
    const ground = mixed(colours.zero, colours.kept, (0.75 * kept) / (mostKept || 1)), written = added + taken;
    if (!written) return ground;
    return mixed(ground, mixed(colours.added, colours.taken, taken / written), Math.max(added, taken) / (mostWritten || 1));
  }

  // ---- pictures

  /** Paint units (places of `order`) by columns; where there are more than pixels, several come together in one. */
  function paint(canvas, name, t0, t1, u0, u1) {
    const pixels = fit(canvas), kind = byId("kind").value, columns = t1 - t0, units = u1 - u0;
    const w = Math.min(columns, pixels.width), h = Math.min(units, pixels.height), image = new ImageData(w, h);
    const range = name === "cell" ? null : rangeOf(name), kept = block.largest("kept");
    const arrays = name === "cell" ? ["kept", "added", "taken"].map((each) => arrayOf(each, "mean")) : [arrayOf(name, kind)];
    for (let y = 0; y < h; y++) {
      const places = order.slice(u0 + Math.floor((y * units) / h), u0 + Math.max(Math.floor(((y + 1) * units) / h), Math.floor((y * units) / h) + 1));
      for (let x = 0; x < w; x++) {
        const from = t0 + Math.floor((x * columns) / w), to = t0 + Math.max(Math.floor(((x + 1) * columns) / w), Math.floor((x * columns) / w) + 1);
        const found = arrays.map((array) => together(array, name === "cell" ? "mean" : kind, places, from, to));
        const colour = name === "cell" ? colourOfCell(...found, kept[places[0]], block.written[places[0]]) : colourOf(name, range, places[0], found[0]);
        image.data.set([...colour, 255], 4 * (y * w + x));
      }
    }
    const small = make("canvas", { width: w, height: h });
    small.getContext("2d").putImageData(image, 0, 0);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    return range;
  }

  /** Give a canvas as many pixels as the screen shows of it. */
  function fit(canvas) {
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    const size = { width: Math.max(1, Math.round(box.width * ratio)), height: Math.max(1, Math.round(box.height * ratio)) };
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
    return size;
  }

  function drawNames(element, height) {
    const units = state.u1 - state.u0, each = height / units, narrow = element.clientWidth < 100, made = [];
    let free = 0; // from where on there is room
    for (let y = 0; y < units; y++) {
      const unit = order[state.u0 + y], top = Math.max(0, (y + 0.5) * each - LINE / 2);
      if (top < free || top + LINE > height + 1) continue;
      const text = narrow ? `${entry.units[unit]}: ${lifeOf(unit)}` : `unit ${entry.units[unit]}: ${lifeOf(unit)}`;
      made.push(make("span", { textContent: text, title: "the unit, and its half-life in steps", style: `top:${top}px` }));
      free = top + LINE;
    }
    element.replaceChildren(...made);
  }

  const ruler = document.createElement("canvas").getContext("2d");
  function cut(text, room) {
    ruler.font = "12px ui-monospace, monospace";
    if (ruler.measureText(text).width <= room) return text;
    const letters = Array.from(text.slice(0, 200));
    while (letters.length && ruler.measureText(`${letters.join("")}…`).width > room) letters.pop();
    return letters.length ? `${letters.join("")}…` : "";
  }

  /** Labels where they fit: each column's own, or those from a mark on as far as there is room. */
  function drawAxis(element) {
    const width = element.clientWidth, columns = state.t1 - state.t0, each = width / columns, names = labels(), made = [];
    ruler.font = "12px ui-monospace, monospace";
    const texts = names ? names.slice(state.t0, state.t1).map(visible) : [];
    const widest = texts.length && texts.length <= width / 7 ? Math.max(...texts.map((text) => ruler.measureText(text).width)) : Infinity;
    if (names && widest + 2 <= each) {
      texts.forEach((text, k) => made.push(span("text", text, k * each + (each - ruler.measureText(text).width) / 2)));
    }
    const longest = ruler.measureText(timeOf(lastStep(state.t1 - 1))).width + 14, room = names && widest + 2 > each ? Math.max(90, longest) : longest;
    const stride = nice(room / each), gap = entry.labels && entry.labels.joined;
    for (let k = Math.ceil(state.t0 / stride) * stride; k < state.t1; k += stride) {
      const left = (k - state.t0) * each;
      if (left + longest > width) break;
      made.push(span("step", timeOf(firstStep(k)), left));
      if (names && widest + 2 > each) made.push(span("text", cut(names.slice(k, k + Math.min(stride, 100)).map(visible).join(gap ? "" : " "), Math.min(stride * each, width - left) - 8), left));
    }
    element.classList.toggle("plain", !names);
    element.replaceChildren(...made);
  }

  const span = (kind, text, left) => make("span", { className: kind, textContent: text, style: `left:${left}px` });
  function nice(least) {
    for (let ten = 1; ; ten *= 10) for (const one of [1, 2, 5]) if (one * ten >= least) return one * ten;
  }

  /** Where a bar's parts end. What is kept and added stands on the cell's side of zero; what is taken goes back from what is kept. */
  function barOf(kept, added, taken, cell, low, high) {
    const side = cell < 0 ? -1 : 1, crossed = added > 0 && taken > 0.999 * kept; // through zero: what was there was on the other side
    const own = crossed ? -side : side, from = crossed ? 0 : side * kept;
    return { over: kept === undefined, kept: own * kept, taken: own * (kept - taken), added: from + side * added, from, cell, low, high };
  }

  function drawHistory() {
    const canvas = byId("history"), { width, height } = fit(canvas), pen = canvas.getContext("2d"), columns = state.t1 - state.t0;
    const w = Math.min(columns, width), unit = [state.unit];
    const bars = Array.from({ length: w }, (_, x) => {
      const from = state.t0 + Math.floor((x * columns) / w), to = state.t0 + Math.max(Math.floor(((x + 1) * columns) / w), Math.floor((x * columns) / w) + 1);
      const all = (name, kind) => together(arrayOf(name, kind), kind, unit, from, to);
      return barOf(all("kept", "mean"), all("added", "mean"), all("taken", "mean"), all("c", "mean"), all("c", "low"), all("c", "high"));
    });
    const ends = bars.flatMap((one) => [one.kept, one.added, one.low, one.high]).filter(Number.isFinite);
    const top = Math.max(0, ...ends), bottom = Math.max(0, ...ends.map((end) => -end));
    const y = (number) => ((top - number) / (top + bottom || 1)) * (height - 4) + 2;
    pen.clearRect(0, 0, width, height);
    const bar = (x, from, to, name) => {
      pen.fillStyle = css(name);
      const left = Math.round((x * width) / w), right = Math.round(((x + 1) * width) / w);
      pen.fillRect(left, Math.min(y(from), y(to)), right - left - (width / w > 6 ? 1 : 0), Math.abs(y(from) - y(to)));
    };
    bars.forEach(({ over, kept, from, added, taken, low, high }, x) => {
      if (over) return;
      if (![kept, added, taken].every(Number.isFinite)) { bar(x, top, -bottom, "nan"); return; }
      bar(x, 0, kept, "kept"); bar(x, kept, taken, "taken"); bar(x, from, added, "added");
      if (high > low) { pen.globalAlpha = 0.25; bar(x, low, high, "cell"); pen.globalAlpha = 1; }
    });
    pen.fillStyle = css("line");
    pen.fillRect(0, y(0), width, 1);
    pen.strokeStyle = css("cell"); pen.lineWidth = Math.max(1, 1.5 * (window.devicePixelRatio || 1)); pen.beginPath();
    bars.forEach(({ cell }, x) => { if (Number.isFinite(cell)) pen.lineTo(((x + 0.5) * width) / w, y(cell)); });
    pen.stroke();
    const size = canvas.getBoundingClientRect().height, zero = (y(0) / height) * size - LINE / 2;
    const marks = [[top, 0], [-bottom, size - LINE], ...(zero > LINE && zero < size - 2 * LINE ? [[0, zero]] : [])];
    byId("heights").replaceChildren(...marks.map(([number, at]) => make("span", { textContent: short(number), style: `top:${at}px` })));
    drawAxis(byId("history-axis"));
  }

  function drawMap() {
    const map = byId("map"), K = block.K, N = block.N;
    paint(map, byId("mapped").value, 0, N, 0, K);
    map.setAttribute("aria-label", `All ${K} units over all ${N} columns: ${NAMES[byId("mapped").value]}`);
    const box = map.getBoundingClientRect(), style = byId("window").style;
    style.left = `${(state.t0 / N) * box.width}px`; style.width = `${Math.max(6, ((state.t1 - state.t0) / N) * box.width)}px`;
    style.top = `${(state.u0 / K) * box.height}px`; style.height = `${Math.max(6, ((state.u1 - state.u0) / K) * box.height)}px`;
  }

  function draw() {
    pending = false;
    const units = state.u1 - state.u0, height = Math.round(Math.max(90, Math.min(units * 14, Math.max(240, units))));
    for (const [name, panel] of panels) {
      panel.figure.hidden = !panel.box.checked;
      if (panel.figure.hidden) continue;
      panel.canvas.style.height = `${height}px`;
      const range = paint(panel.canvas, name, state.t0, state.t1, state.u0, state.u1);
      if (range) {
        panel.low.textContent = range.signed ? (range.text === "its largest" ? "−" : `−${range.text}`) : "0";
        panel.high.textContent = range.text === "its largest" ? "+ each unit's largest" : range.text;
        panel.ramp.style.background = `linear-gradient(to right, ${range.signed ? `${css("minus")}, ${css("zero")}, ${css("plus")}` : `${css("zero")}, ${css("gate")}`})`;
      }
      panel.canvas.setAttribute("aria-label", `${name}, ${NAMES[name]}: ${units} units, ${stepText(state.t0)} to ${lastStep(state.t1 - 1)}`);
      drawNames(panel.names, height);
      drawAxis(panel.axis);
    }
    drawMap();
    drawHistory();
    drawCursor();
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  function later() {
    if (!pending) { pending = true; requestAnimationFrame(draw); }
  }

  // ---- the place that is looked at

  function drawCursor() {
    const across = (state.column + 0.5 - state.t0) / (state.t1 - state.t0), down = state.place - state.u0, units = state.u1 - state.u0;
    const inside = across >= 0 && across <= 1;
    for (const cross of document.querySelectorAll(".cross")) {
      cross.style.left = `${100 * across}%`;
      cross.style.display = inside ? "block" : "none";
    }
    for (const mark of document.querySelectorAll(".mark")) {
      mark.style.top = `${(100 * down) / units}%`; mark.style.height = `${100 / units}%`;
      mark.style.display = down >= 0 && down < units ? "block" : "none";
    }
    tell();
  }

  function tell() {
    const unit = order[state.place], column = state.column, said = [], names = labels();
    said.push(["", stepText(column)]);
    if (names) said.push(["label", visible(names[column])]);
    said.push(["unit", `${entry.units[unit]}, half-life ${lifeOf(unit)}`]);
    for (const name of [...GATES, ...AMOUNTS]) {
      const [one, low, high] = ["mean", "low", "high"].map((kind) => value(arrayOf(name, kind), unit, column));
      const spread = !entry.exact && GATES.includes(name) && one !== undefined ? ` (${short(low)} to ${short(high)})` : "";
      said.push([name === "taken" ? "taken away" : name, one === undefined ? "row is over" : short(one, 4) + spread]);
    }
    byId("readout").replaceChildren(...said.map(([name, text]) => make("span", {}, make("b", { textContent: name && `${name} ` }), text)));
  }

  function look(column, place) {
    state.column = Math.max(0, Math.min(block.N - 1, column));
    state.place = Math.max(0, Math.min(block.K - 1, place));
  }

  /** Show these columns and places, as far as there are. */
  function view(t0, t1, u0, u1) {
    const window = (from, to, most) => {
      const count = Math.max(1, Math.min(most, Math.round(to - from))), start = Math.max(0, Math.min(most - count, Math.round(from)));
      return [start, start + count];
    };
    [state.t0, state.t1] = window(t0, t1, block.N);
    [state.u0, state.u1] = window(u0, u1, block.K);
    later();
  }

  function zoom(times, units) {
    const scaled = (from, to, center, factor) => {
      const middle = center >= from && center < to ? center + 0.5 : (from + to) / 2, half = Math.max(2, (to - from) * factor) / 2;
      return factor === 1 ? [from, to] : [middle - half, middle + half];
    };
    view(...scaled(state.t0, state.t1, state.column, times), ...scaled(state.u0, state.u1, state.place, units));
  }

  function follow() {
    const { column, place } = state, t = state.t1 - state.t0, u = state.u1 - state.u0;
    const t0 = column < state.t0 ? column : column >= state.t1 ? column - t + 1 : state.t0;
    const u0 = place < state.u0 ? place : place >= state.u1 ? place - u + 1 : state.u0;
    if (t0 !== state.t0 || u0 !== state.u0) view(t0, t0 + t, u0, u0 + u);
    drawCursor();
  }

  const everything = () => view(0, block.N, 0, block.K);
  const start = () => view(0, block.N, 0, Math.min(block.K, 64));

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 10 : 1, page = state.u1 - state.u0;
    const keys = {
      ArrowLeft: () => look(state.column - far, state.place), ArrowRight: () => look(state.column + far, state.place),
      ArrowUp: () => look(state.column, state.place - far), ArrowDown: () => look(state.column, state.place + far),
      PageUp: () => look(state.column, state.place - page), PageDown: () => look(state.column, state.place + page),
      Home: () => look(0, state.place), End: () => look(block.N - 1, state.place),
      "+": () => zoom(0.5, 1), "=": () => zoom(0.5, 1), "-": () => zoom(2, 1), ",": () => zoom(1, 0.5), ".": () => zoom(1, 2),
      Enter: () => choose(order[state.place]), Escape: everything,
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    if (!["Escape", "Enter", "+", "=", "-", ",", "."].includes(event.key)) follow();
  }

  function choose(unit) {
    Object.assign(state, { unit, chosen: true });
    byId("unit").value = String(unit);
    later();
  }

  function placeOf(canvas, event) {
    const box = canvas.getBoundingClientRect(), x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    const place = canvas.id === "history" ? order.indexOf(state.unit) : state.u0 + Math.floor(y * (state.u1 - state.u0));
    return { x, column: state.t0 + Math.floor(x * (state.t1 - state.t0)), place };
  }

  function listen(canvas, band) {
    let from = null;
    canvas.addEventListener("keydown", onKey);
    canvas.addEventListener("dblclick", everything);
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = placeOf(canvas, event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = placeOf(canvas, event);
      look(here.column, here.place);
      drawCursor();
      if (!from) return;
      const left = Math.max(0, Math.min(from.x, here.x)), right = Math.min(1, Math.max(from.x, here.x));
      Object.assign(band.style, { display: "block", left: `${100 * left}%`, width: `${100 * (right - left)}%` });
    });
    canvas.addEventListener("pointerup", (event) => {
      const here = placeOf(canvas, event), began = from;
      from = null;
      band.style.display = "none";
      if (!began) return;
      if (Math.abs(here.x - began.x) * canvas.clientWidth > 6) {
        const [a, b] = [began.column, here.column].sort((one, other) => one - other);
        view(Math.max(a, state.t0), Math.min(b + 1, state.t1), state.u0, state.u1);
      } else choose(order[Math.max(0, Math.min(block.K - 1, here.place))]);
    });
    canvas.addEventListener("pointercancel", () => { from = null; band.style.display = "none"; });
  }

  function listenToMap() {
    const map = byId("map");
    const move = (event) => {
      const box = map.getBoundingClientRect(), t = state.t1 - state.t0, u = state.u1 - state.u0;
      const t0 = ((event.clientX - box.left) / box.width) * block.N - t / 2, u0 = ((event.clientY - box.top) / box.height) * block.K - u / 2;
      view(t0, t0 + t, u0, u0 + u);
    };
    map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); move(event); });
    map.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
    map.addEventListener("keydown", onKey);
  }

  // ---- the page

  function choices(id, texts, values = texts.map((_, k) => k)) {
    const select = byId(id);
    select.replaceChildren(...texts.map((text, k) => make("option", { textContent: text, value: String(values[k]) })));
    select.parentElement.hidden = texts.length < 2;
  }

  function useEntry() {
    entry = data.entries[state.entry];
    Object.assign(state, { layer: 0, direction: 0, row: entry.rows[0] });
    choices("layer", Array.from({ length: entry.layers }, (_, k) => String(k)));
    choices("direction", ["forward", "reverse"].slice(0, entry.directions));
    choices("row", entry.rows.map(String), entry.rows);
    byId("kinds").hidden = entry.exact;
    if (entry.exact) byId("kind").value = "mean";
    byId("about").textContent = entry.about;
    byId("warning").textContent = entry.warning;
    byId("warning").hidden = !entry.warning;
    byId("rounding").textContent = data.rounding;
    useBlock();
    start();
  }

  function useBlock() {
    block = blockOf();
    useOrder();
  }

  function useOrder() {
    order = sorted();
    const units = byId("unit");
    units.replaceChildren(...order.map((unit) => make("option", { value: String(unit), textContent: `${entry.units[unit]}: half-life ${lifeOf(unit)}` })));
    if (!state.chosen || !order.includes(state.unit)) state.unit = order[0];
    units.value = String(state.unit);
    look(state.column, state.place);
    later();
  }

  function build() {
    for (const name of SHOWN) {
      const box = make("input", { type: "checkbox", checked: true, name }), canvas = make("canvas", { tabIndex: 0 });
      canvas.setAttribute("role", "img");
      canvas.dataset.name = name;
      const [ramp, low, high, names, axis] = ["i", "span", "span", "div", "div"].map((tag) => make(tag));
      names.className = "names"; axis.className = "axis";
      const band = make("div", { className: "band" });
      const frame = make("div", { className: "frame" }, canvas, make("div", { className: "mark" }), make("div", { className: "cross" }), band);
      const legend = name === "cell"
        ? make("span", { className: "legend" }, ...[["kept", "kept"], ["added", "added"], ["taken", "taken away"]].map(([one, text]) => make("span", { className: one, textContent: text })), "each by its unit's largest")
        : make("span", { className: "ramp" }, low, ramp, high);
      const title = name === "cell" ? [make("b", { textContent: NAMES.cell })] : [make("b", { textContent: name }), NAMES[name]];
      const figure = make("figure", {}, make("figcaption", {}, ...title, legend),
        make("div", { className: "plot" }, names, frame, make("div"), axis));
      byId("panels").append(figure);
      byId("toggles").append(make("label", {}, box, ` ${name === "cell" ? "kept, added, taken" : name}`));
      box.addEventListener("change", later);
      listen(canvas, band);
      panels.set(name, { figure, box, canvas, ramp, low, high, names, axis });
    }
    choices("mapped", SHOWN.map((name) => (name === "cell" ? "kept, added, taken" : `${name}, ${NAMES[name]}`)), SHOWN);
    choices("entry", data.entries.map((one) => one.name));
    const history = byId("history"), band = make("div", { className: "band" });
    history.after(band);
    listen(history, band);
    listenToMap();
  }

  function wire() {
    const on = (id, then) => byId(id).addEventListener("change", then);
    on("entry", () => { state.entry = Number(byId("entry").value); useEntry(); });
    for (const id of ["layer", "direction", "row"]) on(id, () => { state[id] = Number(byId(id).value); useBlock(); });
    on("order", useOrder);
    for (const id of ["kind", "scale", "mapped"]) on(id, later);
    on("unit", () => choose(Number(byId("unit").value)));
    const third = () => Math.max(1, Math.round((state.t1 - state.t0) / 3));
    const clicks = {
      earlier: () => view(state.t0 - third(), state.t1 - third(), state.u0, state.u1), later: () => view(state.t0 + third(), state.t1 + third(), state.u0, state.u1),
      closer: () => zoom(0.5, 1), farther: () => zoom(2, 1), fewer: () => zoom(1, 0.5), more: () => zoom(1, 2), all: everything,
    };
    for (const [id, then] of Object.entries(clicks)) byId(id).addEventListener("click", then);
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("resize", later);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); later(); });
  }

  readColours();
  build();
  wire();
  useEntry();
})();
