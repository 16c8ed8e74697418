// The page: sends the drawing or image to every model that takes images.

import { Card, rowForm } from "./cards.js";
import { Drawing, drawStrokes } from "./drawing.js";
import { SAMPLES } from "./samples.js";
import { BadInput, explain, listModels, predict } from "./service.js";

const find = (id) => document.getElementById(id);
const message = find("message");
const photo = find("photo");
const unseen = find("unseen");
const paper = find("paper");

let cards = []; // of the models that take images
let file = null; // the chosen image, used instead of the drawing
let asking = new AbortController();
let explaining = new AbortController();
let busy = false;
let again = false;

const drawing = new Drawing(find("canvas"), () => {
  if (!drawing.empty) forgetFile();
  changed();
});

function say(text, error = false) {
  message.textContent = text;
  message.classList.toggle("error", error);
}

// Predict the current image once; if it changes meanwhile, predict again after the answers.
async function changed() {
  explaining.abort();
  for (const card of cards) card.hidePicture();
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    do {
      again = false;
      await askAll();
    } while (again);
  } finally {
    busy = false;
  }
}

async function askAll() {
  const image = currentImage();
  if (!image) {
    for (const card of cards) card.clear();
    say(cards.length ? "Draw something, or choose an image or a sample." : "");
    return;
  }
  asking = new AbortController();
  const { signal } = asking;
  const problems = [];
  const answers = await Promise.all(
    cards.map(async (card) => {
      try {
        const answer = await predict(card.model.model, image, card.top, signal);
        if (signal.aborted) return null;
        card.show(answer);
        const verb = answer.prediction.label === null ? "is" : "predicts";
        return `${card.model.model} ${verb} ${card.answer.textContent}`;
      } catch (error) {
        if (error.name === "AbortError") return null;
        card.clear();
        problems.push({ card, message: sentenceOf(error) });
        return null;
      }
    }),
  );
  if (signal.aborted) return;
  const known = answers.filter(Boolean);
  const [first] = problems;
  if (first && !known.length && problems.every(({ message }) => message === first.message)) {
    // Show a problem of all models once.
    say(first.message, true);
    return;
  }
  for (const { card, message } of problems) card.fail(message);
  say(known.length ? `${known.join(", ")}.` : "");
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

async function askRow(card, row) {
  const body = new Blob([JSON.stringify({ instances: [row] })], { type: "application/json" });
  try {
    card.show(await predict(card.model.model, body, card.top));
  } catch (error) {
    card.fail(error.message);
  }
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
  const all = models.map((model) => new Card(model, why));
  cards = all.filter((card) => card.model.input?.kind === "image");
  for (const card of all) {
    if (card.model.input?.kind === "table") {
      card.why.remove();
      card.answer.after(rowForm(card, askRow));
    } else if (card.model.input?.kind === "tensor") {
      card.fail("This model takes tensors: send JSON to /predict, see the API documentation.");
    } else if (card.model.problem) {
      card.fail(card.model.problem);
    } else if (!card.model.input) {
      card.fail("This model is not ready yet.");
    }
  }
  find("cards").replaceChildren(...all.map((card) => card.element));
  if (!all.length) say("No models are configured (--model NAME), or your API key is for none of them.", true);
}

async function load() {
  try {
    showModels(await listModels());
    await changed();
  } catch (error) {
    say(error.message, true);
  }
}

function showSamples() {
  for (const [label, strokes] of Object.entries(SAMPLES)) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Sample ${label}`);
    const small = document.createElement("canvas");
    small.width = small.height = 64;
    drawStrokes(small, strokes.map((stroke) => stroke.map(([x, y]) => [x / 100, y / 100])));
    button.append(small);
    button.addEventListener("click", () => drawing.show(strokes));
    find("samples").append(button);
  }
}

photo.addEventListener("error", hidePhoto);
find("clear").addEventListener("click", () => {
  forgetFile();
  drawing.clear();
});
find("undo").addEventListener("click", () => {
  forgetFile();
  drawing.undo();
});
find("file").addEventListener("change", (event) => {
  choose(event.target.files[0]);
  event.target.value = "";
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

showSamples();
load();
