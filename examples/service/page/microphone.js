// The microphone's samples, at the rate of the machine, as frames at the rate of the service; it runs as an AudioWorklet.

export const RATE = 16000, FRAME = 512;
const ZEROS = 24, STEPS = 256;  // zeros of the filter's sinc on either side; places of it between two samples

/** A low-pass filter and new places in time in one: a windowed sinc, read from a table. */
export class Resampler {
  constructor(rate) {
    this.step = rate / RATE;
    const cut = 0.94 * Math.min(1, RATE / rate);  // of the samples' own limit: what is above would come back as other tones
    this.half = Math.ceil(ZEROS / cut);
    this.table = Float32Array.from({length: this.half * STEPS + 2}, (_, n) => kernel(n / STEPS, cut, this.half));
    this.rest = new Float32Array(this.half);  // silence before the first sample
    this.at = this.half;  // where in it and what follows the next sample is wanted
  }

  push(samples) {
    const joined = new Float32Array(this.rest.length + samples.length), made = [];
    joined.set(this.rest);
    joined.set(samples, this.rest.length);
    for (; Math.floor(this.at) + this.half < joined.length; this.at += this.step) made.push(this.read(joined));
    const done = Math.min(Math.floor(this.at) - this.half, joined.length);
    this.rest = joined.slice(done);
    this.at -= done;
    return made;
  }

  read(joined) {
    const middle = Math.floor(this.at);
    let sum = 0;
    for (let k = middle - this.half + 1; k <= middle + this.half; k++) {
      const place = Math.abs(this.at - k) * STEPS, n = Math.floor(place);
      sum += joined[k] * (this.table[n] + (place - n) * (this.table[n + 1] - this.table[n]));
    }
    return sum;
  }
}

function kernel(distance, cut, half) {
  if (distance >= half) return 0;
  const angle = Math.PI * cut * distance, turn = Math.PI * distance / half;
  const blackman = 0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn);
  return cut * blackman * (angle ? Math.sin(angle) / angle : 1);
}

/** Return a sample of -1 to 1 as 16 bits have it. */
export const whole = sample => Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));

/** Return the mean of channels. */
export const mono = channels => Float32Array.from(channels[0], (_, i) =>
  channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);

if (globalThis.registerProcessor)
  registerProcessor("microphone", class extends AudioWorkletProcessor {
    resampler = new Resampler(sampleRate);
    frame = new Int16Array(FRAME);
    filled = 0;

    process([channels]) {
      if (channels.length)  // none while the microphone pauses
        for (const sample of this.resampler.push(mono(channels))) {
          this.frame[this.filled++] = whole(sample);
          if (this.filled === FRAME) {
            this.port.postMessage(this.frame.slice());
            this.filled = 0;
          }
        }
      return true;
    }
  });
