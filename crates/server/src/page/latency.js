// Latency of what this page published itself: last, median, slowest, and a bar for each of the latest.

import { milliseconds } from "/page/dom.js";

const samplesMax = 48;
const svg = "http://www.w3.org/2000/svg";
const chartWidth = 240;
const chartHeight = 44;

export class Latency {
  #samples = [];
  #byId;

  constructor(byId) {
    this.#byId = byId;
  }

  add(ms) {
    this.#samples.push(ms);
    if (this.#samples.length > samplesMax) this.#samples.shift();
    const sorted = [...this.#samples].sort((a, b) => a - b);
    this.#write("latency-last", ms);
    this.#write("latency-median", sorted[sorted.length >> 1]);
    this.#write("latency-worst", sorted.at(-1));
    this.#draw(sorted.at(-1));
  }

  #write(id, ms) {
    this.#byId(id).textContent = milliseconds(ms);
  }

  #draw(worst) {
    const step = chartWidth / samplesMax;
    const bars = this.#samples.map((ms, index) => bar(index * step, step - 1.5, Math.max(2, (ms / worst) * chartHeight)));
    this.#byId("latency-chart").replaceChildren(...bars);
  }
}

function bar(x, width, height) {
  const rectangle = document.createElementNS(svg, "rect");
  const place = { x, width, y: chartHeight - height, height, rx: 1 };
  for (const [name, value] of Object.entries(place)) rectangle.setAttribute(name, value);
  return rectangle;
}
