// Charts as SVG, in units of a view box, so that they scale with the page.

const WIDTH = 400;
const HEIGHT = 222;
const LEFT = 46;
const RIGHT = 14;
const TOP = 8;
const BOTTOM = 36;
const MOST_POINTS = 400;

export function element(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function html(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

function logTicks(low, high) {
  const found = [];
  const every = Math.max(1, Math.ceil(Math.log10(high / low) / 5));
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power += every) found.push(10 ** power);
  return found.length ? found : [low, high];
}

// Axes, and functions from values to places. `xs` and `ys` are [low, high].
export function axes(svg, xs, ys, { log = false, whole = false, labels = ["", ""] } = {}) {
  let [left, right] = xs;
  let [low, high] = ys;
  if (right <= left) right = left + 1;
  if (high <= low) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const scale = log ? Math.log10 : (value) => value;
  const x = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const y = (value) =>
    HEIGHT - BOTTOM - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (HEIGHT - TOP - BOTTOM);
  for (const value of log ? logTicks(low, high) : ticks(low, high, 4)) {
    svg.append(
      element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
    );
  }
  for (const value of ticks(left, right, 5)) {
    if (whole && !Number.isInteger(value)) continue;
    svg.append(element("text", { x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, short(value)));
  }
  const [below, beside] = labels;
  if (below) svg.append(element("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, below));
  if (beside) svg.append(element("text", { x: LEFT + 4, y: TOP + 8 }, beside));
  return { x, y };
}

export function canvas(label) {
  return element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
}

function thinned(points) {
  const step = Math.ceil(points.length / MOST_POINTS);
  return step < 2 ? points : points.filter((_, place) => place % step === 0 || place === points.length - 1);
}

export function path(points, x, y) {
  return thinned(points).map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
}

// Curves over epochs, with a legend and a text alternative.
export class LineChart {
  constructor(title, { share = false, linear = false } = {}) {
    this.title = title;
    this.share = share;
    this.linear = linear || share;
    this.figure = html("figure");
    this.legend = html("ul", { className: "legend" });
    this.rows = html("tbody");
    const table = html("table", {}, this.rows);
    const details = html("details", {}, html("summary", { textContent: "Numbers" }), table);
    this.element = html("section", { className: "card watch-panel" }, html("h3", { textContent: title }), this.figure, this.legend, details);
    details.addEventListener("toggle", () => this.#table());
    this.details = details;
    this.series = [];
  }

  // Each series: name, className, points as [epoch, value]. `cursor` is an epoch or null.
  draw(series, cursor) {
    this.series = series.filter(({ points }) => points.length);
    this.element.hidden = this.series.length === 0;
    if (this.element.hidden) return;
    const values = this.series.flatMap(({ points }) => points.map(([, value]) => value));
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const log = !this.linear && low > 0 && high / low > 30;
    if (this.share) [low, high] = [Math.max(0, Math.floor(low * 10 - 0.5) / 10), 1];
    else if (!log) low = Math.min(0, low);
    const last = Math.max(...this.series.map(({ points }) => points.at(-1)[0]), 1);
    const svg = canvas(`${this.title}. ${this.series.map(summary).join(". ")}.`);
    const { x, y } = axes(svg, [0, last], [low, high], { log, whole: true, labels: ["epochs", ""] });
    if (cursor !== null) svg.append(element("line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: TOP, y2: HEIGHT - BOTTOM }));
    for (const { points, className } of this.series) {
      svg.append(element("polyline", { class: `series ${className}`, points: path(points, x, y) }));
      const [epoch, value] = points.at(-1);
      if (points.length === 1) svg.append(element("circle", { class: `series ${className}`, cx: x(epoch), cy: y(value), r: 2 }));
    }
    this.figure.replaceChildren(svg);
    this.legend.replaceChildren(
      ...this.series.map(({ name, className, points }) => {
        const sample = element("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, element("line", { class: `series ${className}`, x1: 0, x2: 26, y1: 4, y2: 4 }));
        return html("li", {}, sample, `${name} ${short(at(points, cursor))}`);
      }),
    );
    this.#table();
  }

  // At most a dozen epochs, evenly spaced.
  #table() {
    if (!this.details.open || !this.series.length) return;
    const head = html("tr", {}, ...["Epoch", ...this.series.map(({ name }) => name)].map((textContent) => html("th", { textContent, scope: "col" })));
    const epochs = [...new Set(this.series.flatMap(({ points }) => points.map(([epoch]) => epoch)))].sort((a, b) => a - b);
    const step = Math.ceil(epochs.length / 12);
    const chosen = epochs.filter((_, place) => place % step === 0 || place === epochs.length - 1);
    const rows = chosen.map((epoch) => {
      const cells = this.series.map(({ points }) => html("td", { textContent: short(points.find(([each]) => each === epoch)?.[1]) }));
      return html("tr", {}, html("th", { textContent: epoch, scope: "row" }), ...cells);
    });
    this.rows.replaceChildren(head, ...rows);
  }
}

function at(points, cursor) {
  if (cursor === null) return points.at(-1)[1];
  return points.findLast(([epoch]) => epoch <= cursor)?.[1] ?? null;
}

function summary({ name, points }) {
  const [first, last] = [points[0], points.at(-1)];
  const after = `${short(last[1])} after epoch ${last[0]}`;
  return points.length === 1 ? `${name}: ${after}` : `${name}: from ${short(first[1])} in epoch ${first[0]} to ${after}`;
}
