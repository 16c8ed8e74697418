// A model of tables: a form with a slider for each number, and how the answer changes with one of them.

import { make } from "./elements.js";
import { predictRow, predictRows } from "./service.js";

// Points of a what-if curve, as many as a request may have rows.
const POINTS = Math.min(33, Number(document.body.dataset.maxRows));
const LINES = 6; // labels that are drawn
const WIDTH = 420;
const HEIGHT = 180;
const EDGE = { left: 8, right: 8, top: 8, bottom: 22 };

export class RowForm {
  // `answered` is called with each answer, `failed` with an error.
  constructor(model, { answered, failed, changed }) {
    this.model = model;
    this.columns = model.input.columns;
    this.answered = answered;
    this.failed = failed;
    this.changed = changed;
    this.asking = new AbortController();
    this.busy = this.again = false;
    this.element = make("form", "row");
    for (const column of this.columns) this.element.append(this.#field(column));
    this.element.append(make("p", "hint", "Empty fields are filled with typical values."), make("button", "", "Predict"));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this.whatIf = this.#whatIf();
  }

  // The row, with null for empty fields.
  get row() {
    return Object.fromEntries(this.columns.map(({ name }) => [name, this.#valueOf(name)]));
  }

  // Predict the row; if it changes meanwhile, again after the answer.
  async ask() {
    this.changed();
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    do {
      this.again = false;
      try {
        this.answered(await predictRow(this.model.model, this.row, Math.max(1, Math.min(10, this.model.labels?.length ?? 1))));
        await this.#draw();
      } catch (error) {
        this.chart.replaceChildren();
        this.failed(error);
      }
    } while (this.again);
    this.busy = false;
  }

  #valueOf(name) {
    return this.element.elements.namedItem(name).value.trim() || null;
  }

  #field(column) {
    const field = make("div", "field");
    const label = make("label", "", column.name);
    const input = make("input");
    input.type = "text";
    input.name = column.name;
    input.value = typical(column);
    input.addEventListener("input", () => this.ask());
    label.append(input);
    field.append(label);
    if (column.kind === "date") input.placeholder = isTime(column) ? "21:30" : "2024-12-31";
    if (column.kind === "numeric") {
      const { low, high, step, digits } = rangeOf(column);
      input.inputMode = "decimal";
      const slider = make("input");
      slider.type = "range";
      Object.assign(slider, { min: low, max: high, step });
      slider.value = input.value;
      slider.setAttribute("aria-label", `Slider of ${column.name}`);
      slider.addEventListener("input", () => {
        input.value = Number(slider.value).toFixed(digits);
        this.ask();
      });
      input.addEventListener("input", () => {
        const value = Number(input.value.replace(",", "."));
        if (input.value && Number.isFinite(value)) slider.value = value;
      });
      field.append(slider);
    }
    if (column.categories) {
      // Any text is allowed: categories that training did not see count as "other".
      input.placeholder = column.categories.slice(0, 4).join(", ");
      const choices = make("datalist");
      choices.id = `${this.model.model}/${column.name}`;
      choices.append(...column.categories.map((category) => new Option(category)));
      input.setAttribute("list", choices.id);
      label.append(choices);
    }
    return field;
  }

  #whatIf() {
    const numeric = this.columns.filter(({ kind }) => kind === "numeric");
    const part = make("div", "what-if");
    this.chart = make("div");
    this.choice = make("select");
    this.choice.append(...numeric.map(({ name }) => new Option(name)));
    this.choice.addEventListener("change", () => this.ask());
    const label = make("label", "", "What if this changes: ");
    label.append(this.choice);
    if (numeric.length) part.append(label, this.chart);
    return part;
  }

  async #draw() {
    const column = this.columns.find(({ name }) => name === this.choice.value);
    if (!column || this.again || POINTS < 2) return;
    const { low, high, digits } = rangeOf(column);
    const xs = Array.from({ length: POINTS }, (_, index) => low + ((high - low) * index) / (POINTS - 1));
    const { row } = this;
    const answer = await predictRows(this.model.model, xs.map((x) => ({ ...row, [column.name]: x })));
    const number = Number((row[column.name] ?? "").replace(",", "."));
    const now = row[column.name] !== null && Number.isFinite(number) ? number : column.mean;
    const lines = linesOf(answer, this.model);
    const largest = answer.labels ? 1 : Math.max(...lines[0].values);
    const smallest = answer.labels ? 0 : Math.min(...lines[0].values);
    const x = (value) => EDGE.left + ((value - low) / (high - low)) * (WIDTH - EDGE.left - EDGE.right);
    const y = (value) => HEIGHT - EDGE.bottom - ((value - smallest) / (largest - smallest || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    chart.setAttribute("aria-label", sentence(column.name, xs, lines, digits));
    chart.append(svg("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom, class: "axis" }));
    if (now >= low && now <= high) chart.append(svg("line", { x1: x(now), x2: x(now), y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: "now" }));
    lines.forEach(({ values }, index) => {
      const points = values.map((value, place) => `${x(xs[place]).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      chart.append(svg("polyline", { points, class: `line line-${index}` }));
    });
    for (const [value, anchor] of [[low, "start"], [high, "end"]]) {
      const text = svg("text", { x: x(value), y: HEIGHT - 6, "text-anchor": anchor });
      text.textContent = value.toFixed(digits);
      chart.append(text);
    }
    const legend = make("p", "legend");
    lines.forEach(({ label }, index) => {
      const entry = make("span", `key line-${index}`, label);
      legend.append(entry, " ");
    });
    this.chart.replaceChildren(chart, answer.labels ? legend : make("p", "legend", `${this.model.target}: ${smallest.toPrecision(4)} to ${largest.toPrecision(4)}`));
  }
}

// What the form starts with: a mean, the most frequent category, a date in the middle.
function typical(column) {
  if (column.kind === "numeric") return column.mean.toFixed(rangeOf(column).digits);
  if (column.kind === "date") {
    const text = new Date((column.fill ?? column.mean) * 86_400_000).toISOString();
    return isTime(column) ? text.slice(11, 16) : text.slice(0, 10);
  }
  const { categories, shares = [], fill } = column;
  return fill ?? categories[Math.max(0, shares.indexOf(Math.max(...shares)))];
}

function isTime({ format }) {
  return format === "time";
}

function linesOf({ labels, predictions }, model) {
  if (!labels) return [{ label: model.target, values: predictions.map(({ value }) => value) }];
  const all = labels.map((label, index) => ({ label, values: predictions.map(({ probabilities }) => probabilities[index]) }));
  return all.sort((a, b) => Math.max(...b.values) - Math.max(...a.values)).slice(0, LINES)
    .sort((a, b) => labels.indexOf(a.label) - labels.indexOf(b.label));
}

function sentence(name, xs, lines, digits) {
  const changes = lines.map(({ label, values }) => `${label} goes from ${values[0].toPrecision(3)} to ${values.at(-1).toPrecision(3)}`);
  return `As ${name} goes from ${xs[0].toFixed(digits)} to ${xs.at(-1).toFixed(digits)}, ${changes.join(", ")}.`;
}

// The range of a column's slider: the mean and three standard deviations, or 0 and 1 for a boolean.
function rangeOf({ mean, scale }) {
  const isBoolean = Math.abs(scale ** 2 - mean * (1 - mean)) < 1e-9;
  const low = isBoolean ? 0 : mean - 3 * scale;
  const high = isBoolean ? 1 : mean + 3 * scale;
  const digits = Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(high - low))));
  return { low: Number(low.toFixed(digits)), high: Number(high.toFixed(digits)), step: 10 ** -digits, digits };
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
