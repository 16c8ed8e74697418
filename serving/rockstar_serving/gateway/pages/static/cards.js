// A card for each model: its answer as bars, an explanation, and the model card.

const MOST_BARS = 10;

export class Card {
  // `explain` is called with this card when its button is clicked.
  constructor(model, explain) {
    this.model = model;
    this.labels = model.labels ?? [];
    this.top = Math.max(1, Math.min(MOST_BARS, this.labels.length));
    this.about = make("span", "about");
    this.answer = make("p", "answer");
    this.problem = make("p", "problem");
    this.problem.hidden = true;
    this.adjusted = make("p", "hint");
    this.adjusted.hidden = true;
    this.bars = make("table", "bars");
    this.bars.append(make("caption", "quiet", `Probabilities of ${model.model}`), make("tbody"));
    this.why = make("button", "", "Why?");
    this.why.type = "button";
    this.why.disabled = true;
    this.why.setAttribute("aria-pressed", "false");
    this.why.setAttribute("aria-label", `Why did ${model.model} predict this?`);
    this.why.addEventListener("click", () => explain(this));
    this.picture = make("img", "explained");
    this.legend = make("p", "legend", "Orange supports the answer, blue opposes it.");
    this.element = make("article", "card");
    const head = make("header");
    head.append(make("h3", "", model.model), this.about);
    this.element.append(head, this.answer, this.problem, this.adjusted, this.bars, this.why, this.picture, this.legend, facts(model));
    this.clear();
  }

  clear() {
    this.answer.textContent = "–";
    this.problem.hidden = true;
    this.adjusted.hidden = true;
    this.about.textContent = "";
    this.bars.tBodies[0].replaceChildren();
    this.why.disabled = true;
    this.hidePicture();
  }

  show({ prediction, version, milliseconds }) {
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
      const percent = `${(score * 100).toFixed(1)} %`;
      row.className = label === best ? "best" : "";
      row.cells[0].textContent = label;
      row.cells[1].firstElementChild.style.width = percent.replace(" ", "");
      row.cells[2].textContent = percent;
    });
  }
}

// A form for models that take a row of a table; `ask` is called with the card and the row.
export function rowForm(card, ask) {
  const form = make("form", "row");
  for (const column of card.model.input.columns) {
    const label = make("label", "", column.name);
    const input = make("input");
    input.type = "text";
    input.name = column.name;
    if (column.kind === "numeric") input.inputMode = "decimal";
    if (column.kind === "date") input.placeholder = "2024-12-31";
    label.append(input);
    if (column.categories) {
      // Any text is allowed: categories that training did not see count as "other".
      input.placeholder = column.categories.slice(0, 4).join(", ");
      const choices = make("datalist");
      choices.id = `${card.model.model}/${column.name}`;
      choices.append(...column.categories.map((category) => new Option(category)));
      input.setAttribute("list", choices.id);
      label.append(choices);
    }
    form.append(label);
  }
  form.append(make("p", "hint", "Empty fields are filled with typical values."));
  form.append(make("button", "", "Predict"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const row = {};
    for (const column of card.model.input.columns) {
      row[column.name] = form.elements.namedItem(column.name).value.trim() || null;
    }
    ask(card, row);
  });
  return form;
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

function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
