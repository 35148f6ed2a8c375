// What has been heard and answered, the last ten minutes of it; knows nothing of pictures and sockets.

import {FRAME, RATE} from "./microphone.js";

export const SECOND = RATE / FRAME;  // frames
const MOST = Math.round(600 * SECOND);
const BELOW = 0.15, SILENCE = 3, SHORTEST = 8;  // below the threshold; frames of silence, and of speech

// A byte is 0, or 1 + 14 octaves above the lowest power of two, which is 2^-8 for amounts and 2^-16 for the rate.
const amounts = lowest => Float64Array.from({length: 256}, (_, byte) => byte ? 2 ** ((byte - 1) / 14 + lowest) : 0);
export const AMOUNT = amounts(-8), RATE_OF = amounts(-16);

export class History {
  constructor(units = 0) {
    this.units = units;
    this.heard = this.frames = this.seen = 0;  // frames that were sent; answered; whose cells came
    this.level = new Float32Array(MOST);
    this.probability = new Float32Array(MOST);
    this.bytes = new Uint8Array(MOST * 4 * units);  // of a frame: kept, added, taken, rate, of all units each
    this.seenAt = new Float64Array(MOST).fill(-1);  // which frame's bytes these are
    this.rates = new Float64Array(units);
    this.most = [new Uint8Array(units), new Uint8Array(units)];  // kept; added or taken
    this.order = Array.from({length: units}, (_, unit) => unit);
  }

  get first() { return Math.max(0, this.frames - MOST); }

  hear(frame) {
    this.level[this.heard++ % MOST] = frame.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / 32768;
  }

  answer(probabilities) {
    for (const probability of probabilities) this.probability[this.frames++ % MOST] = probability;
  }

  /** Keep what the cells did from frame `first` on; their probabilities come next. */
  look(first, bytes) {
    const size = 4 * this.units;
    if (first !== this.frames || !size || bytes.length % size)
      throw new Error(`expected the cells of frame ${this.frames} on, ${size} bytes each, got ${bytes.length} of ${first}`);
    for (let n = 0; n < bytes.length / size; n++) {
      const told = bytes.subarray(n * size, (n + 1) * size), slot = (first + n) % MOST;
      this.bytes.set(told, slot * size);
      this.seenAt[slot] = first + n;
      for (let unit = 0; unit < this.units; unit++) {
        const [kept, added, taken, rate] = this.row(told, unit);
        this.most[0][unit] = Math.max(this.most[0][unit], kept);
        this.most[1][unit] = Math.max(this.most[1][unit], added, taken);
        this.rates[unit] += RATE_OF[rate];
      }
      this.seen++;
      if (!(this.seen & (this.seen - 1)) && this.seen >= 16) this.sort();  // after 16, 32, 64, ... frames
    }
  }

  row(told, unit) { return [0, 1, 2, 3].map(part => told[part * this.units + unit]); }

  /** Return the bytes of a frame's cells; undefined for those that did not come. */
  cells(frame) {
    if (this.seenAt[frame % MOST] !== frame) return undefined;
    const size = 4 * this.units;
    return this.bytes.subarray(frame % MOST * size, (frame % MOST + 1) * size);
  }

  /** Return how many frames' cells did not come. */
  get lost() { return Math.max(0, this.frames - this.seen); }

  at(frame) { return this.probability[frame % MOST]; }

  sound(frame) { return this.level[frame % MOST]; }

  /** Return in how many seconds half of a unit's memory goes, on average since the beginning. */
  halfLife(unit) { return Math.LN2 * this.seen / this.rates[unit] / SECOND; }

  sort() { this.order.sort((one, other) => this.rates[one] - this.rates[other] || one - other); }

  /** Return where there is speech: pairs of frames, the first one in and the first one past it. */
  segments(threshold) {
    const made = [], low = Math.max(0.01, threshold - BELOW);
    let start = -1, quiet = -1;
    const close = end => { if (end - start >= SHORTEST) made.push([start, end]); start = quiet = -1; };
    for (let frame = this.first; frame < this.frames; frame++) {
      const probability = this.at(frame);
      if (start < 0 && probability >= threshold) start = frame;
      if (start < 0) continue;
      if (probability >= low) quiet = -1;
      else if (quiet < 0) quiet = frame;
      if (quiet >= 0 && frame - quiet + 1 >= SILENCE) close(quiet);
    }
    if (start >= 0) close(quiet < 0 ? this.frames : quiet);
    return made;
  }
}
