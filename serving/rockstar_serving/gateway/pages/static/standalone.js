// The exported page: draw or choose an image, and its own model predicts it, without a network.

import { BrowserModel, pixelsOf, startLiteRT } from "./browser_model.js";
import { Drawing, drawStrokes } from "./drawing.js";
import { sampleButtons } from "./samples.js";

const find = (id) => document.getElementById(id);
const MOST_BARS = 10;

let model = null;
let file = null; // the chosen image, used instead of the drawing
let turn = 0; // of the latest change; older ones are not predicted or shown

const drawing = new Drawing(find("canvas"), () => {
  if (!drawing.empty) forgetFile();
  predict();
});

function say(text, error = false) {
  find("message").textContent = text;
  find("message").classList.toggle("error", error);
}

// Predict the current image once the stroke is on the screen; if it changes meanwhile, again.
async function predict() {
  const own = ++turn;
  await new Promise(requestAnimationFrame);
  if (own !== turn) return;
  if (!model || (drawing.empty && !file)) {
    clear();
    if (model) say("Draw something, or choose an image.");
    return;
  }
  try {
    const answer = await model.predict(await pixelsOf(file ?? sheetOf(drawing)), MOST_BARS);
    if (own === turn) show(answer);
  } catch (error) {
    if (own !== turn) return;
    clear();
    const why = error.name === "InvalidStateError" ? "this browser cannot read it as an image" : error.message;
    say(file ? `${file.name}: ${why}.` : why, true);
  }
}

// The drawing without the pen.
function sheetOf({ canvas, strokes }) {
  const sheet = document.createElement("canvas");
  sheet.width = canvas.width;
  sheet.height = canvas.height;
  drawStrokes(sheet, strokes);
  return sheet;
}

function show({ prediction, tensor, milliseconds }) {
  const sure = prediction.label !== null;
  find("answer").textContent = sure ? prediction.label : "not sure";
  const reason = sure ? "" : ` ${prediction.reason[0].toUpperCase()}${prediction.reason.slice(1)}.`;
  say(`This device predicts ${find("answer").textContent} (${Math.max(1, Math.round(milliseconds))} ms).${reason}`);
  fillBars(prediction);
  showTensor(tensor);
}

function clear() {
  find("answer").textContent = "–";
  find("bars").tBodies[0].replaceChildren();
  find("seen").hidden = true;
}

// A few labels are shown in their own order, so that bars stay in place while the user draws.
function fillBars({ top, label }) {
  const { labels } = model.contract;
  const rows = [...top];
  if (labels.length <= MOST_BARS) rows.sort((a, b) => labels.indexOf(a.label) - labels.indexOf(b.label));
  find("bars").tBodies[0].replaceChildren(...rows.map((each) => {
    const row = document.createElement("tr");
    row.className = each.label === label ? "best" : "";
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = each.label;
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.width = `${100 * each.score}%`;
    row.append(head);
    row.insertCell().append(bar);
    row.insertCell().textContent = `${(100 * each.score).toFixed(1)} %`;
    return row;
  }));
}

// What the model sees.
function showTensor({ data, height, width, channels }) {
  const [low, high] = model.contract.input.range;
  const picture = new ImageData(width, height);
  for (let at = 0; at < height * width; at++) {
    for (let c = 0; c < 3; c++) {
      const value = data[at * channels + (channels === 1 ? 0 : c)];
      picture.data[4 * at + c] = (255 * (value - low)) / (high - low);
    }
    picture.data[4 * at + 3] = 255;
  }
  const canvas = find("tensor");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(picture, 0, 0);
  find("seen").hidden = false;
}

function choose(image) {
  if (!image) return;
  file = image;
  const photo = find("photo");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(image);
  photo.hidden = false;
  predict();
}

function forgetFile() {
  file = null;
  find("photo").hidden = true;
}

// A file in this page: base64 of gzip, in an element that browsers do not run.
async function embedded(id) {
  const bytes = Uint8Array.from(atob(find(id).textContent), (character) => character.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

async function load() {
  if (typeof WebAssembly !== "object" || typeof DecompressionStream !== "function") {
    throw new Error("This browser is too old for this page: it needs WebAssembly and DecompressionStream.");
  }
  const script = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  const [module, loader, wasmBinary, tflite] = await Promise.all(
    ["litert-module", "litert-loader", "litert-wasm", "model"].map(embedded),
  );
  // LiteRT's loader passes this to the WebAssembly file's, which would fetch the file otherwise.
  self.Module = { wasmBinary };
  // LiteRT tells loaders from folders by the ending.
  const litert = await startLiteRT({ module: script(module), loader: `${script(loader)}#.js` });
  model = await BrowserModel.load(litert, tflite);
  find("samples").append(...sampleButtons(drawing, model.contract.labels));
  await predict();
  return model;
}

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
find("paper").addEventListener("dragover", (event) => event.preventDefault());
find("paper").addEventListener("drop", (event) => {
  event.preventDefault();
  choose(event.dataTransfer.files[0]);
});
find("photo").addEventListener("error", () => { find("photo").hidden = true; });

// The model, once it has started.
export const ready = load();
ready.catch((error) => say(`The model cannot run here: ${error.message}`, true));
