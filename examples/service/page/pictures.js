// The two pictures over one time axis: the probability with its threshold and segments, and a row of colour for each cell.

import {AMOUNT, SECOND} from "./history.js";

const LEFT = 46, RIGHT = 8, TOP = 8, AXIS = 24, WIDE = 2;  // CSS pixels; of a frame
const FAINT = 0.7;  // colours go with this power of an amount, so that small ones show
const SHADE = Float32Array.from({length: 256}, (_, less) => 2 ** (-less / 14 * FAINT));
const LIVES = [100, 30, 10, 3, 1, 0.3, 0.1];

let colors = {};
const readColors = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["panel", "ink", "soft", "grid", "speech", "sound", "kept", "added", "taken", "lost"])
    colors[name] = style.getPropertyValue(`--${name}`).trim();
};
readColors();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColors);

const rgb = color => [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16));

/** A canvas as large as its place on the page, in the pixels of the screen. */
class Picture {
  constructor(id) {
    this.canvas = document.getElementById(id);
    this.pen = this.canvas.getContext("2d");
  }

  begin() {
    const dense = devicePixelRatio, {clientWidth, clientHeight} = this.canvas;
    const [width, height] = [Math.round(clientWidth * dense), Math.round(clientHeight * dense)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, {width, height});
    this.pen.setTransform(dense, 0, 0, dense, 0, 0);
    this.pen.clearRect(0, 0, clientWidth, clientHeight);
    this.pen.font = "12px system-ui, sans-serif";
    this.right = clientWidth - RIGHT;
    this.bottom = clientHeight - AXIS;
  }

  line(color, width, points, dash = []) {
    const {pen} = this;
    pen.strokeStyle = colors[color];
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    points.forEach(([x, y], n) => n ? pen.lineTo(x, y) : pen.moveTo(x, y));
    pen.stroke();
  }

  text(text, x, y, align, color = "soft") {
    this.pen.fillStyle = colors[color];
    this.pen.textAlign = align;
    this.pen.textBaseline = "middle";
    this.pen.fillText(text, x, y);
  }

  box(color, x, y, width, height, alpha = 1) {
    this.pen.globalAlpha = alpha;
    this.pen.fillStyle = colors[color];
    this.pen.fillRect(x, y, width, height);
    this.pen.globalAlpha = 1;
  }
}

const speech = new Picture("speech"), cells = new Picture("cells"), image = document.createElement("canvas");

/** Return how many frames fit on the page. */
export const room = () => Math.max(16, Math.floor((speech.canvas.clientWidth - LEFT - RIGHT) / WIDE));

/** Return the frame, height (0 to 1) and row under a pointer on one of the canvases. */
export function under(canvas, event, view) {
  const box = canvas.getBoundingClientRect();
  const height = (event.clientY - box.top - TOP) / (canvas.clientHeight - AXIS - TOP);
  return {frame: view.start + Math.floor((event.clientX - box.left - LEFT) / WIDE), height};
}

const x = (view, frame) => LEFT + (frame - view.start) * WIDE;

export function draw(history, view) {
  drawSpeech(history, view);
  drawCells(history, view);
}

function drawSpeech(history, view) {
  speech.begin();
  const {bottom, right} = speech, y = value => bottom - value * (bottom - TOP);
  for (const [start, end] of view.segments) {
    const from = Math.max(x(view, start), LEFT), to = Math.min(x(view, end), right);
    if (to > from) speech.box("speech", from, TOP, to - from, bottom - TOP, 0.18);
  }
  for (const value of [0, 0.5, 1]) {
    speech.line("grid", 1, [[LEFT, y(value)], [right, y(value)]]);
    speech.text(value.toString(), LEFT - 8, y(value), "right");
  }
  const last = Math.min(view.start + room(), history.frames), curve = [];
  for (let frame = view.start; frame < last; frame++) {
    const high = history.sound(frame) * (bottom - TOP);
    speech.box("sound", x(view, frame), bottom - high, WIDE, high);
    curve.push([x(view, frame) + WIDE / 2, y(history.at(frame))]);
  }
  speech.line("ink", 1, [[LEFT, y(view.threshold)], [right, y(view.threshold)]], [6, 4]);
  speech.box("ink", right - 4, y(view.threshold) - 6, 4, 12);
  if (curve.length) speech.line("speech", 2, curve);
  finish(speech, view);
}

function drawCells(history, view) {
  cells.begin();
  const {bottom, right} = cells, high = bottom - TOP;
  cells.box("grid", LEFT, TOP, right - LEFT, high, 0.5);
  const count = Math.min(room(), history.frames - view.start);
  if (history.units && count > 0) {
    paint(history, view.start, count);
    cells.pen.imageSmoothingEnabled = false;
    cells.pen.drawImage(image, LEFT, TOP, count * WIDE, high);
  }
  let free = -Infinity;  // labels keep their distance
  for (const life of history.seen >= 16 ? LIVES : []) {
    const above = history.order.findIndex(unit => history.halfLife(unit) < life);
    const at = TOP + above / history.units * high;
    if (above > 0 && at > free) {
      cells.line("ink", 1, [[LEFT - 5, at], [LEFT, at]]);
      cells.text(`${life} s`, LEFT - 8, at, "right");
      free = at + 15;
    }
  }
  if (view.mark && view.mark.row !== undefined) {
    const above = TOP + view.mark.row / history.units * high, below = above + high / history.units;
    for (const at of [above - 0.5, below + 0.5]) cells.line("ink", 1, [[LEFT, at], [right, at]]);
  }
  finish(cells, view);
}

/** Draw the time and the mark. */
function finish(picture, view) {
  const {bottom, right} = picture, step = right - LEFT < 420 ? 2 : 1;
  picture.line("soft", 1, [[LEFT, bottom + 0.5], [right, bottom + 0.5]]);
  for (let second = Math.ceil(view.start / SECOND / step) * step; x(view, second * SECOND) <= right; second += step) {
    const at = x(view, second * SECOND);
    picture.line("soft", 1, [[at, bottom], [at, bottom + 4]]);
    if (at < right - 16) picture.text(`${second} s`, at, bottom + 14, "center");
  }
  if (view.mark) {
    const at = x(view, view.mark.frame) + WIDE / 2;
    if (at >= LEFT && at <= right) picture.line("ink", 1, [[at, TOP], [at, bottom]]);
  }
}

/** Paint a pixel for each frame and cell: green for what it keeps; over it blue or orange for what is written. */
function paint(history, start, count) {
  const {units, order} = history, pen = image.getContext("2d");
  if (image.width !== count || image.height !== units) Object.assign(image, {width: count, height: units});
  const pixels = pen.createImageData(count, units), {data} = pixels;
  const [panel, kept, added, taken, lost] = ["panel", "kept", "added", "taken", "lost"].map(name => rgb(colors[name]));
  for (let column = 0; column < count; column++) {
    const told = history.cells(start + column);
    for (let row = 0; row < units; row++) {
      const at = 4 * (row * count + column), unit = order[row];
      data[at + 3] = 255;
      if (!told) {
        for (let part = 0; part < 3; part++) data[at + part] = lost[part];
        continue;
      }
      const more = told[units + unit], less = told[2 * units + unit], written = Math.max(more, less);
      const green = told[unit] ? 0.75 * SHADE[history.most[0][unit] - told[unit]] : 0;
      const over = written ? SHADE[history.most[1][unit] - written] : 0;
      const share = written ? AMOUNT[less] / (AMOUNT[less] + AMOUNT[more]) : 0;
      for (let part = 0; part < 3; part++) {
        const under = panel[part] + green * (kept[part] - panel[part]);
        data[at + part] = under + over * (added[part] + share * (taken[part] - added[part]) - under);
      }
    }
  }
  pen.putImageData(pixels, 0, 0);
}
