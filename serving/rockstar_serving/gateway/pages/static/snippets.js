// Code that sends the same request as the page does: curl, Python and JavaScript.

import { button, make } from "./elements.js";
import { ROOT } from "./service.js";

const LANGUAGES = {
  curl: ({ url, kind, row, keyed }) => [
    "curl",
    ...(keyed ? ["-H 'Authorization: Bearer KEY'"] : []),
    ...(kind === "image"
      ? ["-H 'Content-Type: image/png'", "--data-binary @drawing.png"]
      : ["-H 'Content-Type: application/json'", `--data ${quoted(JSON.stringify({ instances: [row] }))}`]),
    `'${url}'`,
  ].join(" \\\n  "),
  Python: ({ root, model, kind, row, keyed }) => [
    "from rockstar_client import HttpClient",
    "",
    `with HttpClient(${JSON.stringify(root)}${keyed ? ', api_key="KEY"' : ""}) as client:`,
    `    answer = client.predict(${JSON.stringify(model)}, [${kind === "image" ? '"drawing.png"' : python(row)}])`,
    "print(answer.predictions[0])",
  ].join("\n"),
  JavaScript: ({ url, kind, row, keyed }) => [
    ...(kind === "image" ? ['import { readFile } from "node:fs/promises";', ""] : []),
    `const response = await fetch(${JSON.stringify(url)}, {`,
    '  method: "POST",',
    `  headers: { "Content-Type": "${kind === "image" ? "image/png" : "application/json"}"${keyed ? ', Authorization: "Bearer KEY"' : ""} },`,
    `  body: ${kind === "image" ? 'await readFile("drawing.png")' : `JSON.stringify(${JSON.stringify({ instances: [row] })})`},`,
    "});",
    "const answer = await response.json();",
    "console.log(answer.predictions?.[0] ?? answer.detail);",
  ].join("\n"),
};

// The section with the code. `models` are those that take images or rows; `rowOf` returns the current
// row of a model, `saveImage` offers the drawing as a file.
export class Snippets {
  constructor(section, models, rowOf, saveImage) {
    this.models = models;
    this.rowOf = rowOf;
    this.language = "curl";
    // The last one that takes images is the best one of the lecture.
    this.model = models.findLast(({ input }) => input.kind === "image") ?? models[0];
    this.code = make("code");
    this.frame = make("pre", "code");
    this.frame.tabIndex = 0; // scrolls by keys
    this.frame.setAttribute("role", "region");
    this.frame.append(this.code);
    this.copied = make("span", "hint");
    this.copied.setAttribute("role", "status");
    const copy = button("Copy");
    copy.addEventListener("click", () => this.#copy());
    this.save = button("Save the image as drawing.png");
    this.save.addEventListener("click", saveImage);
    const bar = make("div", "buttons");
    bar.append(
      this.#choices("Language", Object.keys(LANGUAGES), this.language, (name) => { this.language = name; }),
      this.#choices("Model", models.map((each) => each.model), this.model?.model, (name) => { this.model = models.find((each) => each.model === name); }),
    );
    const below = make("div", "buttons");
    below.append(copy, this.save, this.copied);
    section.querySelector(".place").replaceChildren(bar, this.frame, below);
    section.hidden = !models.length;
    if (models.length) this.update();
  }

  update() {
    if (!this.model) return;
    const root = ROOT.href.replace(/\/$/, "");
    const { model, input: { kind } } = this.model;
    this.code.textContent = LANGUAGES[this.language]({
      root,
      url: `${root}/predict/${encodeURIComponent(model)}`,
      model,
      kind,
      row: this.rowOf(model),
      keyed: "keyed" in document.body.dataset,
    });
    this.frame.setAttribute("aria-label", `${this.language} code for ${model}`);
    this.save.hidden = kind !== "image";
    this.copied.textContent = "";
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      this.copied.textContent = "Copied.";
    } catch { // not over HTTP from another machine
      getSelection().selectAllChildren(this.code);
      this.copied.textContent = "Selected: copy it with Ctrl-C or ⌘C.";
    }
  }

  #choices(legend, names, chosen, choose) {
    const group = make("fieldset", "choices");
    group.append(make("legend", "quiet", legend));
    for (const name of names) {
      const label = make("label");
      const radio = make("input");
      radio.type = "radio";
      radio.name = `snippet-${legend}`;
      radio.checked = name === chosen;
      radio.addEventListener("change", () => {
        choose(name);
        this.update();
      });
      label.append(radio, make("span", "", name));
      group.append(label);
    }
    return group;
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// A row as a Python dictionary: its values are numbers, texts and null.
function python(row) {
  const cells = Object.entries(row).map(([name, value]) => `${JSON.stringify(name)}: ${value === null ? "None" : JSON.stringify(value)}`);
  return `{${cells.join(", ")}}`;
}
