// A card for each model: its answer as bars, an explanation, and the model card.

import { button, make, percent } from "./elements.js";
import { documentOf } from "./service.js";

const MOST_BARS = 10;

export class Card {
  // `explain` and `inspect` are called with this card when their buttons are clicked.
  constructor(model, explain, inspect) {
    this.model = model;
    this.labels = model.labels ?? [];
    this.top = Math.max(1, Math.min(MOST_BARS, this.labels.length));
    this.about = make("span", "about");
    this.answer = make("p", "answer");
    this.problem = make("p", "problem");
    this.problem.hidden = true;
    this.compared = make("p", "hint");
    this.before = make("p", "hint before");
    this.adjusted = make("p", "hint");
    this.adjusted.hidden = true;
    this.bars = make("table", "bars");
    this.bars.append(make("caption", "quiet", `Probabilities of ${model.model}`), make("tbody"));
    this.why = button("Why?");
    this.why.disabled = true;
    this.why.setAttribute("aria-pressed", "false");
    this.why.setAttribute("aria-label", `Why did ${model.model} predict this?`);
    this.why.addEventListener("click", () => explain(this));
    this.inside = button("Look inside");
    this.inside.setAttribute("aria-pressed", "false");
    this.inside.setAttribute("aria-label", `Look inside ${model.model}`);
    this.inside.addEventListener("click", () => inspect(this));
    this.buttons = make("div", "buttons");
    this.buttons.append(this.why, this.inside);
    this.picture = make("img", "explained");
    this.legend = make("p", "legend", "Orange supports the answer, blue opposes it.");
    this.element = make("article", "card");
    const head = make("header");
    head.append(make("h3", "", model.model), this.about);
    this.facts = facts(model);
    this.element.append(head, this.answer, this.before, this.compared, this.problem, this.adjusted, this.bars, this.buttons, this.picture, this.legend, this.facts);
    this.clear();
  }

  clear() {
    this.shown = null;
    this.before.hidden = true;
    this.compared.hidden = true;
    this.answer.textContent = "–";
    this.problem.hidden = true;
    this.adjusted.hidden = true;
    this.about.textContent = accuracyOf(this.model);
    this.bars.tBodies[0].replaceChildren();
    this.why.disabled = true;
    this.hidePicture();
  }

  // With `same`, the image of the answer before: if another version gave that, it is shown, too.
  show(answer, same = false) {
    const { prediction, version, milliseconds } = answer;
    if (!same) this.before.hidden = true;
    else if (this.shown && this.shown.version !== version) {
      this.before.textContent = `Version ${this.shown.version} said ${said(this.shown.prediction)}`;
      this.before.hidden = false;
    }
    this.shown = answer;
    this.compared.hidden = true;
    this.problem.hidden = true;
    this.about.textContent = `version ${version} · ${Math.round(milliseconds)} ms`;
    this.adjusted.textContent = adjustments(prediction);
    this.adjusted.hidden = !this.adjusted.textContent;
    if (prediction.top) {
      const sure = prediction.label !== null;
      this.answer.textContent = sure ? prediction.label : "not sure";
      if (!sure) {
        this.problem.textContent = `${prediction.reason[0].toUpperCase()}${prediction.reason.slice(1)}.`;
        this.problem.hidden = false;
      }
      this.#fill(prediction.top, prediction.label);
      this.why.disabled = !sure;
    } else {
      this.answer.textContent = String(Number(prediction.value.toPrecision(6)));
    }
  }

  // What the server and this browser predict.
  showCompared(text) {
    this.compared.textContent = text;
    this.compared.hidden = false;
  }

  fail(sentence) {
    this.clear();
    this.problem.textContent = sentence;
    this.problem.hidden = false;
  }

  showPicture(blob) {
    this.hidePicture();
    this.picture.src = URL.createObjectURL(blob);
    this.picture.alt = `The image as ${this.model.model} sees it; orange supports ${this.answer.textContent}, blue opposes it`;
    this.picture.hidden = this.legend.hidden = false;
    this.why.setAttribute("aria-pressed", "true");
  }

  hidePicture() {
    if (this.picture.src) URL.revokeObjectURL(this.picture.src);
    this.picture.removeAttribute("src");
    this.picture.hidden = this.legend.hidden = true;
    this.why.setAttribute("aria-pressed", "false");
  }

  // A newer version of the model.
  update(model) {
    this.model = model;
    const old = this.facts;
    this.facts = facts(model);
    old.replaceWith(this.facts);
  }

  // Links to the card and the report, if the gateway has them.
  link({ card, report }) {
    const links = make("p", "links");
    for (const [name, text, exists] of [["card", "Card as text", card], ["report", "Training report", report]]) {
      if (!exists) continue;
      const link = make("a", "", text);
      link.href = documentOf(this.model.model, name);
      links.append(link);
    }
    if (links.childElementCount) this.facts.append(links);
  }

  get explained() {
    return !this.picture.hidden;
  }

  // A few labels are shown in their own order, so that bars stay in place while the user draws.
  #fill(top, best) {
    const rows = [...top];
    if (this.labels.length <= MOST_BARS) {
      rows.sort((a, b) => this.labels.indexOf(a.label) - this.labels.indexOf(b.label));
    }
    const body = this.bars.tBodies[0];
    while (body.rows.length < rows.length) body.append(barRow());
    while (body.rows.length > rows.length) body.lastElementChild.remove();
    rows.forEach(({ label, score }, index) => {
      const row = body.rows[index];
      row.className = label === best ? "best" : "";
      row.cells[0].textContent = label;
      row.cells[1].firstElementChild.style.width = `${score * 100}%`;
      row.cells[2].textContent = percent(score);
    });
  }
}

function said({ label, value, top }) {
  return top ? `${label ?? "not sure"} (${percent(top[0].score)}).` : `${Number(value.toPrecision(6))}.`;
}

// The service's adjustments to a row as a sentence; empty if there are none.
function adjustments({ imputed = {}, other = {} }) {
  const filled = Object.entries(imputed).map(([column, value]) => `${column} ${shorten(value)}`);
  const unknown = Object.entries(other).map(([column, category]) => `${column} “${category}”`);
  return [
    filled.length ? `Filled in: ${filled.join(", ")}.` : "",
    unknown.length ? `Not seen in training: ${unknown.join(", ")}.` : "",
  ].join(" ").trim();
}

function shorten(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : value ?? "nothing";
}

function barRow() {
  const row = make("tr");
  const head = make("th");
  head.scope = "row";
  const cell = make("td");
  cell.append(make("div", "bar"));
  row.append(head, cell, make("td"));
  return row;
}

function accuracyOf({ metrics = {} }) {
  if ("test_accuracy" in metrics) return `${percent(metrics.test_accuracy)} right in tests`;
  return "test_r2" in metrics ? `R² ${metrics.test_r2.toFixed(3)} in tests` : "";
}

function facts(model) {
  const details = make("details");
  details.append(make("summary", "", "Model card"));
  const table = make("table", "facts");
  const served = model.versions.filter((version) => version.state === "AVAILABLE");
  const rows = [
    ["Versions", served.map((version) => version.version).join(", ") || "none available"],
    ["Task", model.task],
    ["Predicts", model.target],
    ["Input", model.input && inputOf(model.input)],
    ["Labels", model.labels?.join(", ")],
    ...Object.entries(model.metrics ?? {}).map(([name, value]) => [name.replaceAll("_", " "), value.toFixed(4)]),
    ["Trained", model.created && new Date(model.created).toLocaleString()],
  ];
  for (const [name, value] of rows.filter(([, value]) => value)) {
    const row = make("tr");
    const head = make("th", "", name);
    head.scope = "row";
    row.append(head, make("td", "", String(value)));
    table.append(row);
  }
  details.append(table);
  if (model.confusion?.length) details.append(matrix(model));
  return details;
}

function inputOf({ kind, shape, tensors }) {
  if (shape) return `${kind}, ${shape.join(" × ")}`;
  return tensors.map(({ name, dtype, shape: sizes }) => `${name}: ${dtype} ${sizes.map((size) => size ?? "any").join(" × ")}`).join("; ");
}

function matrix({ confusion, labels }) {
  const table = make("table", "matrix");
  table.append(make("caption", "", "Held-out examples: rows are labels, columns are predictions."));
  const head = table.createTHead().insertRow();
  head.append(make("td"), ...labels.map((label) => heading(label, "col")));
  const body = table.createTBody();
  confusion.forEach((counts, index) => {
    const row = body.insertRow();
    row.append(heading(labels[index], "row"));
    const all = counts.reduce((sum, count) => sum + count, 0) || 1;
    counts.forEach((count, column) => {
      const cell = row.insertCell();
      cell.textContent = count || "";
      const color = index === column ? "46, 139, 87" : "194, 65, 12";
      if (count) cell.style.backgroundColor = `rgba(${color}, ${0.15 + 0.6 * Math.sqrt(count / all)})`;
    });
  });
  const frame = make("div", "scroll");
  frame.append(table);
  return frame;
}

function heading(text, scope) {
  const head = make("th", "", text);
  head.scope = scope;
  return head;
}
