// The page: sends the drawing or image to every model that takes images, and rows to those of tables.

import { Card } from "./cards.js";
import { Drawing } from "./drawing.js";
import { compare } from "./in_browser.js";
import { Inside } from "./inside.js";
import { sampleButtons } from "./samples.js";
import { BadInput, correct, describe, explain, listModels, predict } from "./service.js";
import { Snippets } from "./snippets.js";
import { RowForm } from "./tables.js";
import { verdict } from "./verdict.js";

// The order of the lecture, from the simplest network on. Other models follow.
const ORDER = ["linear", "logistic", "mlp", "cnn"];

// After this time without an answer the page says that it waits.
const SLOW_MS = 1500;
// After a correction the page looks this often for versions that learned it.
const NEWS_MS = 5000;

const find = (id) => document.getElementById(id);
const message = find("message");
const photo = find("photo");
const unseen = find("unseen");
const paper = find("paper");
const inside = new Inside(find("inside"));

let cards = []; // of the models that take images
let forms = new Map(); // of the models that take rows, by name
let snippets = null;
let file = null; // the chosen image, used instead of the drawing
let asking = new AbortController();
let explaining = new AbortController();
let busy = false;
let again = false;
let same = false; // whether the image is that of the answers on the page
let news = null;

const drawing = new Drawing(find("canvas"), () => {
  if (!drawing.empty) forgetFile();
  changed();
});

function say(text, error = false, detail = "") {
  find("headline").textContent = text;
  find("detail").textContent = detail;
  message.classList.toggle("error", error);
}

// Predict the current image once; if it changes meanwhile, predict again after the answers.
async function changed() {
  same = false;
  explaining.abort();
  inside.update(inside.model ? currentImage() : null);
  for (const card of cards) card.hidePicture();
  await ask();
}

async function ask() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  find("cards").setAttribute("aria-busy", "true");
  try {
    do {
      again = false;
      await askAll();
    } while (again);
  } finally {
    busy = false;
    find("cards").removeAttribute("aria-busy");
  }
}

async function askAll() {
  const image = currentImage();
  if (find("teach")) {
    find("teach").hidden = !image;
    if (!same) find("taught").textContent = find("right-label").value = "";
  }
  if (!image) {
    for (const card of cards) card.clear();
    say(cards.length ? "Draw something, or choose an image or a sample." : "");
    return;
  }
  asking = new AbortController();
  const { signal } = asking;
  const repeated = same;
  same = true;
  const problems = [];
  const slow = setTimeout(() => say("Waiting for the models…"), SLOW_MS);
  const answers = await Promise.all(
    cards.map(async (card) => {
      try {
        const answer = await predict(card.model.model, image, card.top, signal);
        if (signal.aborted) return null;
        card.show(answer, repeated);
        if (find("in-browser")?.checked) compare(card, image);
        return { model: card.model.model, labels: card.labels, accuracy: card.model.metrics?.test_accuracy, ...answer.prediction };
      } catch (error) {
        if (error.name === "AbortError") return null;
        card.clear();
        problems.push({ card, message: sentenceOf(error) });
        return null;
      }
    }),
  );
  clearTimeout(slow);
  if (signal.aborted) return;
  const known = answers.filter(Boolean);
  const [first] = problems;
  if (first && !known.length && problems.every(({ message }) => message === first.message)) {
    // Show a problem of all models once.
    say(first.message, true);
    return;
  }
  for (const { card, message } of problems) card.fail(message);
  const classified = known.filter(({ top }) => top);
  const said = verdict(classified);
  if (said) say(said.headline, false, said.detail);
  else say("", false, known.map(({ model, value }) => `${model}: ${value.toPrecision(6)}`).join(", "));
}

function sentenceOf(error) {
  return error instanceof BadInput ? `${file?.name ?? "The drawing"}: ${error.message}` : error.message;
}

function currentImage() {
  if (file) return file;
  return drawing.empty ? null : drawing.png();
}

async function why(card) {
  if (card.explained) {
    card.hidePicture();
    return;
  }
  const image = currentImage();
  if (!image) return;
  explaining = new AbortController();
  const { signal } = explaining;
  try {
    const picture = await explain(card.model.model, image, signal);
    if (!signal.aborted) card.showPicture(picture);
  } catch (error) {
    if (error.name !== "AbortError") say(sentenceOf(error), true);
  }
}

function lookInside(card) {
  const shown = inside.toggle(card.model.model, currentImage());
  for (const each of cards) each.inside.setAttribute("aria-pressed", String(each.model.model === shown));
  if (shown) find("inside").scrollIntoView({ block: "nearest" });
}

// The form exists only if the gateway keeps corrections.
function offerToTeach() {
  const form = find("teach");
  const labels = new Set(cards.flatMap((card) => card.labels));
  if (!form || !labels.size) return;
  // None at first: a label that nobody chose must not be learned.
  find("right-label").replaceChildren(new Option("choose", ""), ...[...labels].map((label) => new Option(label)));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const label = find("right-label").value;
    const { model } = cards.find((card) => card.labels.includes(label));
    try {
      const count = await correct(model.model, label, currentImage());
      find("taught").textContent = `Kept as ${label}, for the next training (${count} in all).`;
      news ??= setInterval(lookForVersions, NEWS_MS);
    } catch (error) {
      find("taught").textContent = sentenceOf(error);
    }
  });
}

// Predict the image again with versions that were published meanwhile.
async function lookForVersions() {
  const newest = ({ versions }) => versions.find(({ state }) => state === "AVAILABLE")?.version;
  const models = await listModels().catch(() => []);
  const updated = cards.filter((card) => {
    const model = models.find((each) => each.model === card.model.model && each.input);
    if (!model || newest(model) === newest(card.model)) return false;
    card.update(model);
    describe(model.model).then((found) => card.link(found), () => {});
    return true;
  });
  if (updated.length) await ask();
}

function saveImage() {
  const image = currentImage();
  if (!image) {
    say("Draw something first: there is no image to save.");
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(image);
  link.download = "drawing.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function choose(image) {
  if (!image) return;
  asking.abort();
  // Without the type that the system guessed from the name: the service detects it from the bytes.
  file = new File([image], image.name);
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(image);
  photo.hidden = false;
  unseen.hidden = true;
  changed();
}

// Not an image, or a format that the service supports and this browser does not, such as HEIC.
function hidePhoto() {
  photo.hidden = true;
  if (!file) return;
  unseen.textContent = `This browser cannot show ${file.name}.`;
  unseen.hidden = false;
}

function forgetFile() {
  file = null;
  photo.hidden = true;
  unseen.hidden = true;
}

function showModels(models) {
  // Models of images come first: their cards are small, and belong to the drawing.
  const place = ({ model, input }) => (input?.kind === "image" ? 0 : 10) + ((ORDER.indexOf(model) + ORDER.length + 1) % (ORDER.length + 1));
  const all = models.toSorted((a, b) => place(a) - place(b)).map((model) => new Card(model, why, lookInside));
  cards = all.filter((card) => card.model.input?.kind === "image");
  for (const card of all) {
    const kind = card.model.input?.kind;
    card.buttons.hidden = kind !== "image";
    if (kind === "table") {
      showForm(card);
    } else if (kind === "tensor") {
      card.fail("This model takes tensors: send JSON to /predict, see the API documentation.");
    } else if (card.model.problem) {
      card.fail(card.model.problem);
    } else if (!kind) {
      card.fail("This model is not ready yet.");
    }
    if (kind) describe(card.model.model).then((found) => card.link(found), () => {});
  }
  find("cards").replaceChildren(...all.map((card) => card.element));
  find("input").hidden = !cards.length;
  offerToTeach();
  const usable = all.filter((card) => cards.includes(card) || forms.has(card.model.model));
  snippets = new Snippets(find("use"), usable.map((card) => card.model), (name) => forms.get(name)?.row, saveImage);
  if (!all.length) say("No models are configured (--model NAME), or your API key is for none of them.", true);
}

function showForm(card) {
  const form = new RowForm(card.model, {
    answered: (answer) => card.show(answer),
    failed: (error) => card.fail(error.message),
    changed: () => snippets?.update(),
  });
  forms.set(card.model.model, form);
  const left = document.createElement("div");
  left.append(...card.element.children);
  card.element.classList.add("wide");
  card.element.append(left, form.element);
  card.bars.after(form.whatIf);
  form.ask();
}

function keptDrawing() {
  try {
    return JSON.parse(sessionStorage.getItem("drawing")) ?? [];
  } catch {
    return []; // the browser forbids storage
  }
}

async function load() {
  try {
    showModels(await listModels());
    if (drawing.empty && !file) drawing.show(keptDrawing(), 1);
    else await changed();
  } catch (error) {
    say(error.message, true);
  }
}

photo.addEventListener("error", hidePhoto);
find("clear").addEventListener("click", () => {
  forgetFile();
  drawing.clear();
});
find("in-browser")?.addEventListener("change", changed);
find("undo").addEventListener("click", () => {
  forgetFile();
  drawing.undo();
});
find("file").addEventListener("change", (event) => {
  choose(event.target.files[0]);
  event.target.value = "";
});
// Keep the drawing when the page is reloaded, or a phone discards it in the background.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) sessionStorage.setItem("drawing", JSON.stringify(drawing.strokes));
});
for (const name of ["dragenter", "dragover"]) {
  paper.addEventListener(name, (event) => {
    event.preventDefault();
    paper.classList.add("dropping");
  });
}
for (const name of ["dragleave", "drop"]) {
  paper.addEventListener(name, () => paper.classList.remove("dropping"));
}
paper.addEventListener("drop", (event) => {
  event.preventDefault();
  choose(event.dataTransfer.files[0]);
});

find("samples").append(...sampleButtons(drawing));
load();
