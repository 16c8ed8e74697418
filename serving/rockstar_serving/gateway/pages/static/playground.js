// The playground: settings, the training loop, and pictures of the network. The settings are in the
// hash of the URL, so that a link to them can be shared.

import { Drawing } from "./drawing.js";
import { ACTIVATIONS, Network, OPTIMIZERS, REGULARIZATIONS, randomNumbers, Trainer } from "./neural_network.js";
import { DATA_SETS, DIGIT_SIDE, FEATURES, gridInputs, makeData, RANGE, rasterize } from "./playground_data.js";

const GRID = 30; // points a side at which neurons are shown
const [MOST_LAYERS, MOST_NEURONS] = [4, 8];
const MOST_IN_DIGITS = 24; // neurons of a layer that learns digits
// Milliseconds between two frames that are too many for 60 a second.
const LATE_FRAME = 18;
// Milliseconds of training in a frame.
const [LEAST_TRAINING, MOST_TRAINING] = [1, 12];
const DEFAULTS = {
  data: "circle", noise: 0, train: 0.5, batch: 10, features: ["x", "y"], layers: [4, 2], activation: "tanh",
  rate: 0.03, optimizer: OPTIMIZERS[0], regularization: "none", penalty: 0.003, seed: 1,
};
const CHOICES = {
  data: DATA_SETS,
  activation: Object.keys(ACTIVATIONS),
  rate: [0.00001, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
  optimizer: OPTIMIZERS,
  regularization: REGULARIZATIONS,
  penalty: [0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
};
const find = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");

let settings = DEFAULTS;
let trainer = null;
let data = null;
let grid = null; // inputs of the points at which neurons are shown
let history = []; // { train, test } losses by epoch
let tested = null; // what the network computed for the test examples after the last epoch
let lines = []; // of each layer, where those to its neurons start and end: [x, y, x, y]
let turn = 0; // the layer whose lines are drawn next
let running = false;
let selected = null; // the neuron that the large picture shows: [layer, index]
let lastFrame = 0; // when it began, in milliseconds
let trainingTime = LEAST_TRAINING; // milliseconds in the next frame: less when frames are late

const drawing = new Drawing(find("canvas"), showDrawing);

// Settings

function isDigits() {
  return settings.data === "digits";
}

// The settings in a hash; what is missing or invalid there has its default.
function parse(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const parsed = { ...DEFAULTS };
  for (const [name, choices] of Object.entries(CHOICES)) {
    const chosen = choices.find((choice) => String(choice) === given.get(name));
    if (chosen !== undefined) parsed[name] = chosen;
  }
  const number = (name, low, high) => {
    const value = Number.parseFloat(given.get(name));
    if (value >= low && value <= high) parsed[name] = value;
  };
  number("noise", 0, 0.5);
  number("train", 0.1, 0.9);
  number("batch", 1, 50);
  number("seed", 1, 2 ** 31);
  parsed.batch = Math.round(parsed.batch);
  const features = (given.get("features") ?? "").split("-").filter((name) => Object.hasOwn(FEATURES, name));
  if (features.length) parsed.features = [...new Set(features)];
  const most = parsed.data === "digits" ? MOST_IN_DIGITS : MOST_NEURONS;
  if (given.has("layers")) {
    const sizes = given.get("layers").split("-").map(Number);
    parsed.layers = sizes.filter((size) => Number.isInteger(size) && size > 0).slice(0, MOST_LAYERS);
  }
  parsed.layers = parsed.layers.map((size) => Math.min(most, size));
  return parsed;
}

function hashOf(values) {
  const changed = Object.entries(values).filter(([name, value]) => String(value) !== String(DEFAULTS[name]));
  return `#${new URLSearchParams(changed.map(([name, value]) => [name, Array.isArray(value) ? value.join("-") : value]))}`;
}

// Settings that change while the network keeps what it learned.
const LIVE = ["batch", "rate", "optimizer", "regularization", "penalty"];

function apply(changes) {
  settings = parse(hashOf({ ...settings, ...changes }));
  window.history.replaceState(null, "", hashOf(settings));
  fillForm();
  if (!Object.keys(changes).every((name) => LIVE.includes(name))) restart();
}

function fillForm() {
  const form = find("settings");
  for (const name of [...Object.keys(CHOICES), "noise", "train", "batch"]) {
    const input = form.elements.namedItem(name);
    input.value = settings[name];
    const shown = input.parentElement.querySelector(".value");
    if (!shown) continue;
    shown.textContent = name === "batch" ? settings.batch : `${Math.round(100 * settings[name])} %`;
    input.setAttribute("aria-valuetext", shown.textContent);
  }
  find("fewer-layers").disabled = !settings.layers.length;
  find("more-layers").disabled = settings.layers.length >= MOST_LAYERS;
  find("layer-count").textContent = `${settings.layers.length} hidden ${settings.layers.length === 1 ? "layer" : "layers"}`;
}

// Training

function restart() {
  pause();
  const random = randomNumbers(settings.seed);
  data = makeData(settings.data, { noise: settings.noise, trainShare: settings.train, features: settings.features }, random);
  const inputs = isDigits() ? DIGIT_SIDE ** 2 : settings.features.length;
  const network = new Network([inputs, ...settings.layers, isDigits() ? 10 : 1], settings.activation, random);
  trainer = new Trainer(network, data.train, random);
  grid = isDigits() ? null : gridInputs(GRID, settings.features);
  history = [];
  selected = null;
  find("plane").hidden = isDigits();
  find("digit").hidden = !isDigits();
  buildDiagram();
  record();
  redraw();
  say("");
}

function step() {
  const { rate, optimizer, regularization, penalty, batch } = settings;
  trainer.step(batch, { learningRate: rate, optimizer, regularization, rate: penalty });
}

function frame(time) {
  if (!running) return;
  const isLate = time - lastFrame > LATE_FRAME;
  lastFrame = time;
  trainingTime = Math.max(LEAST_TRAINING, Math.min(MOST_TRAINING, trainingTime + (isLate ? -1 : 0.1)));
  const end = performance.now() + trainingTime;
  const isNew = recordEpoch();
  if (!running) return; // the weights are too large
  const { epoch } = trainer;
  while (trainer.epoch === epoch && performance.now() < end) step();
  show(isNew);
  requestAnimationFrame(frame);
}

// Records the last epoch, if that was not done before.
function recordEpoch() {
  const isNew = trainer.epoch >= history.length;
  if (isNew) record();
  return isNew;
}

function record() {
  const [train, test] = [data.train, data.test].map(({ inputs, labels }) => trainer.network.evaluate(inputs, labels));
  history.push({ train: train.loss, test: test.loss, accuracy: test.accuracy });
  tested = test.passes;
  if (!Number.isFinite(train.loss)) {
    pause();
    say("The weights have become too large for numbers: the learning rate is too high. Lower it and reset.", true);
  }
}

function run() {
  if (!Number.isFinite(history.at(-1).train)) restart();
  running = true;
  find("run").textContent = "Pause";
  say("");
  requestAnimationFrame(frame);
}

function pause() {
  if (running && recordEpoch()) show();
  if (!running) return;
  running = false;
  find("run").textContent = "Train";
  const { test, accuracy } = history.at(-1);
  say(`Paused at epoch ${trainer.epoch}: test loss ${test.toFixed(3)}, test accuracy ${percent(accuracy)}.`);
  if (find("weights").open) showWeights();
}

function say(text, error = false) {
  find("message").textContent = text;
  find("message").classList.toggle("error", error);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

// Pictures

// Changes a text only if it differs, which saves a layout of the page.
function write(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

// Draws the network, and what changes with an epoch if there is a new one.
function show(isNew = true) {
  const passes = isDigits() ? tested : trainer.network.forward(grid);
  showNeurons(passes, isNew);
  // One layer in each picture: a thousand lines take longer than a frame.
  turn = (turn + 1) % lines.length;
  showLines(turn);
  if (isDigits()) showDrawing();
  else showBoundary(passes);
  if (!isNew) return;
  const { train, test, accuracy } = history.at(-1);
  write("epoch", trainer.epoch.toLocaleString("en"));
  write("train-loss", train.toFixed(3));
  write("test-loss", test.toFixed(3));
  write("test-accuracy", percent(accuracy));
  showLosses();
}

// The columns of inputs, neurons and outputs, and the lines between them.
function buildDiagram() {
  const { layers, sizes } = trainer.network;
  const columns = [inputColumn(), ...layers.map((_, index) => neuronColumn(index, sizes[index + 1]))];
  find("diagram").classList.toggle("digits", isDigits());
  find("diagram").replaceChildren(find("lines"), ...columns);
  find("diagram-hint").textContent = isDigits()
    ? "A neuron of the first layer shows its weights as an image: blue is positive, orange negative. Other neurons show their mean value for the digits 0 to 9, from left to right."
    : "Each neuron shows its value over the plane: blue is positive, orange negative. Lines are weights. Choose a neuron to see it large.";
}

function inputColumn() {
  const column = make("div", "column");
  column.append(make("span", "", "Inputs"));
  if (isDigits()) {
    const picture = make("canvas", "node");
    picture.style.width = picture.style.height = "48px";
    paint(picture, DIGIT_SIDE, DIGIT_SIDE, data.train.examples[0].image, { scale: 2, shift: -1 });
    column.append(picture, make("span", "", "12 × 12 pixels"));
    return column;
  }
  for (const name of Object.keys(FEATURES)) {
    const label = make("label");
    const box = make("input");
    box.type = "checkbox";
    box.checked = settings.features.includes(name);
    // The network needs one input.
    box.disabled = box.checked && settings.features.length === 1;
    box.addEventListener("change", () => {
      const names = Object.keys(FEATURES);
      apply({ features: names.filter((each) => (each === name ? box.checked : settings.features.includes(each))) });
      find("diagram").querySelector(`input[name="${name}"]`)?.focus();
    });
    box.name = name;
    const picture = make("canvas");
    picture.ariaHidden = "true";
    paint(picture, GRID, GRID, gridInputs(GRID, [name]), { scale: 1 / RANGE });
    if (box.checked) label.className = "node";
    label.append(box, name, picture);
    column.append(label);
  }
  return column;
}

function neuronColumn(layer, count) {
  const column = make("div", "column");
  const isLast = layer === settings.layers.length;
  column.append(isLast ? make("span", "", "Output") : sizeButtons(layer, count));
  for (let index = 0; index < count; index++) {
    const name = isLast ? (isDigits() ? `Output for digit ${index}` : "Output") : `Neuron ${index + 1} of layer ${layer + 1}`;
    const neuron = make(isDigits() ? "span" : "button", "neuron node");
    const picture = make("canvas");
    if (isDigits()) {
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", name);
    } else {
      neuron.type = "button";
      neuron.setAttribute("aria-label", name);
      neuron.setAttribute("aria-pressed", "false");
      neuron.addEventListener("click", () => select(isLast || neuron.ariaPressed === "true" ? null : [layer, index]));
    }
    neuron.append(picture);
    column.append(neuron);
  }
  return column;
}

function sizeButtons(layer, count) {
  const buttons = make("span", "buttons");
  const change = (by, text, name) => {
    const button = make("button", "", text);
    button.type = "button";
    button.setAttribute("aria-label", `${name} layer ${layer + 1}`);
    button.disabled = count + by < 1 || count + by > (isDigits() ? MOST_IN_DIGITS : MOST_NEURONS);
    button.addEventListener("click", () => {
      apply({ layers: settings.layers.map((size, index) => (index === layer ? size + by : size)) });
      find("diagram").querySelector(`[aria-label="${name} layer ${layer + 1}"]:enabled`)?.focus();
    });
    return button;
  };
  buttons.append(change(-1, "−", "Remove a neuron from"), String(count), change(1, "+", "Add a neuron to"));
  return buttons;
}

// Shows a neuron in the large picture; null is the output.
function select(neuron) {
  selected = neuron;
  neurons().forEach((column, layer) => column.forEach((button, index) => {
    button.setAttribute("aria-pressed", String(Boolean(neuron) && neuron[0] === layer && neuron[1] === index));
  }));
  show();
}

function neurons() {
  return [...find("diagram").querySelectorAll(".column")].slice(1).map((column) => [...column.querySelectorAll(".neuron")]);
}

function showNeurons(passes, isNew) {
  neurons().forEach((column, layer) => column.forEach((neuron, index) => {
    const picture = neuron.firstElementChild;
    if (!isDigits()) {
      paintPlane(picture, passes, layer, index);
    } else if (layer === 0) {
      const { inputs, weights } = trainer.network.layers[0];
      const own = weights.subarray(index * inputs, (index + 1) * inputs);
      paint(picture, DIGIT_SIDE, DIGIT_SIDE, own, { scale: 1 / largest(own, 0, 1, 1e-9) });
    } else if (isNew) {
      const means = meansByDigit(passes[layer].values, index, column.length);
      paint(picture, 10, 1, means, { scale: 1 / largest(means, 0, 1, 1) });
    }
  }));
}

// Draws the values of a neuron over the plane.
function paintPlane(canvas, passes, layer, index) {
  const { values } = passes[layer];
  const stride = trainer.network.sizes[layer + 1];
  const isLast = layer === passes.length - 1;
  const [scale, shift] = isLast ? [2, -1] : [1 / largest(values, index, stride, 1), 0];
  paint(canvas, GRID, GRID, values, { start: index, stride, scale, shift });
}

function meansByDigit(values, index, count) {
  const [sums, counts] = [new Float64Array(10), new Float64Array(10)];
  data.test.labels.forEach((label, example) => {
    sums[label] += values[example * count + index];
    counts[label] += 1;
  });
  return sums.map((sum, label) => sum / Math.max(1, counts[label]));
}

// The largest size of every `stride`th value, at least `most`.
function largest(values, start, stride, most) {
  for (let at = start; at < values.length; at += stride) most = Math.max(most, Math.abs(values[at]));
  return most;
}

let picture = new ImageData(1, 1);
let palette = null; // the colors of 256 values from -1 (orange) to 1 (blue)

// Draws every `stride`th value as `scale * value + shift`, in which -1 is orange and 1 is blue.
function paint(canvas, width, height, values, { start = 0, stride = 1, scale = 1, shift = 0 } = {}) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  if (picture.width !== width || picture.height !== height) picture = new ImageData(width, height);
  palette ??= mixColors();
  const pixels = new Uint32Array(picture.data.buffer);
  for (let at = 0; at < pixels.length; at++) {
    const value = Math.max(-1, Math.min(1, scale * values[start + at * stride] + shift));
    pixels[at] = palette[Math.round(127.5 * (1 + value))];
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function mixColors() {
  const [negative, middle, positive] = colors();
  const bytes = new Uint8ClampedArray(4 * 256).fill(255);
  for (let place = 0; place < 256; place++) {
    const value = place / 127.5 - 1;
    const end = value < 0 ? negative : positive;
    for (let c = 0; c < 3; c++) bytes[4 * place + c] = middle[c] + Math.abs(value) * (end[c] - middle[c]);
  }
  return new Uint32Array(bytes.buffer);
}

function colors() {
  return dark.matches ? [[240, 128, 32], [38, 36, 33], [54, 140, 214]] : [[236, 132, 32], [244, 242, 238], [14, 108, 176]];
}

const [sheet, dots] = [make("canvas"), make("canvas")]; // of the plane, and of the examples in front

function showBoundary(passes) {
  const canvas = find("boundary");
  const pencil = canvas.getContext("2d");
  const [layer, index] = selected ?? [passes.length - 1, 0];
  paintPlane(sheet, passes, layer, index);
  // Paler than the points.
  pencil.fillStyle = `rgb(${colors()[1]})`;
  pencil.fillRect(0, 0, canvas.width, canvas.height);
  pencil.globalAlpha = 0.6;
  pencil.drawImage(sheet, 0, 0, canvas.width, canvas.height);
  pencil.globalAlpha = 1;
  pencil.drawImage(dots, 0, 0);
  const what = selected ? `Neuron ${index + 1} of layer ${layer + 1}` : "The network";
  canvas.setAttribute("aria-label", `${what} over the plane; ${percent(history.at(-1).accuracy)} of the test points are right`);
  write("boundary-hint", selected
    ? `${what}. Choose it again to see the output.`
    : "Points are examples; the color behind them is what the network predicts there.");
}

// Draws the examples, which stay the same while the network learns.
function drawExamples() {
  const { width, height } = find("boundary");
  Object.assign(dots, { width, height }); // also clears it
  const pencil = dots.getContext("2d");
  const shown = find("show-test").checked ? [data.train, data.test] : [data.train];
  shown.forEach(({ examples }, isTest) => {
    for (const { x, y, label } of examples) {
      const [left, top] = [x, -y].map((place) => ((place / RANGE + 1) / 2) * width);
      pencil.beginPath();
      pencil.arc(left, top, 3.2, 0, 2 * Math.PI);
      pencil.fillStyle = `rgb(${colors()[label ? 2 : 0]})`;
      pencil.fill();
      pencil.lineWidth = isTest ? 1.4 : 1;
      pencil.strokeStyle = isTest ? "#000" : "#fff";
      pencil.stroke();
    }
  });
}

function redraw() {
  if (!isDigits()) drawExamples();
  placeLines();
  show();
}

// Where the lines are; their width and color change with the weights.
function placeLines() {
  const diagram = find("diagram");
  const origin = diagram.getBoundingClientRect();
  const columns = [...diagram.querySelectorAll(".column")].map((column) =>
    [...column.querySelectorAll(".node")].map((node) => {
      const box = node.getBoundingClientRect();
      const left = box.left - origin.left + diagram.scrollLeft;
      return { left, right: left + box.width, y: box.top - origin.top + box.height / 2 };
    }));
  lines = columns.slice(1).map((ends, layer) => ends.flatMap((end) =>
    columns[layer].map((start) => [start.right, start.y, end.left, end.y])));
  const canvas = find("lines");
  const width = Math.max(...lines.at(-1).map(([, , right]) => right));
  const height = 3 + Math.max(...lines.flat().map(([, from, , to]) => Math.max(from, to)));
  Object.assign(canvas, { width: width * devicePixelRatio, height: height * devicePixelRatio }); // also clears it
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  canvas.getContext("2d").scale(devicePixelRatio, devicePixelRatio);
  lines.forEach((_, layer) => showLines(layer));
}

function showLines(layer) {
  const pencil = find("lines").getContext("2d");
  const { inputs, weights } = trainer.network.layers[layer];
  // All pixels are one node.
  const shown = isDigits() && layer === 0 ? lines[0].map((_, output) => meanSize(weights.subarray(output * inputs, (output + 1) * inputs))) : weights;
  const left = Math.min(...lines[layer].map(([start]) => start));
  const right = Math.max(...lines[layer].map(([, , end]) => end));
  pencil.clearRect(left, 0, right - left, find("lines").height);
  const [negative, , positive] = colors().map((color) => `rgb(${color})`);
  lines[layer].forEach(([x1, y1, x2, y2], at) => {
    pencil.strokeStyle = shown[at] < 0 ? negative : positive;
    pencil.lineWidth = Math.min(5, 0.3 + Math.abs(shown[at]));
    pencil.beginPath();
    pencil.moveTo(x1, y1);
    pencil.lineTo(x2, y2);
    pencil.stroke();
  });
}

function meanSize(values) {
  return values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
}

function showLosses() {
  const canvas = find("losses");
  const pencil = canvas.getContext("2d");
  const styles = getComputedStyle(document.body);
  pencil.clearRect(0, 0, canvas.width, canvas.height);
  const known = history.filter(({ train, test }) => Number.isFinite(train) && Number.isFinite(test));
  if (!known.length) return;
  // Logarithmic, from 0.001.
  const height = (loss) => Math.log10(Math.max(0.001, loss)) + 3;
  const top = known.reduce((most, { train, test }) => Math.max(most, height(Math.max(train, test))), 1e-9);
  // No more points than pixels.
  const stride = Math.ceil(known.length / canvas.width);
  const points = known.filter((_, index) => index % stride === 0 || index === known.length - 1);
  for (const [name, color] of [["test", "--soft"], ["train", "--best"]]) {
    pencil.beginPath();
    points.forEach((losses, index) => {
      const x = (index / Math.max(1, points.length - 1)) * canvas.width;
      pencil.lineTo(x, canvas.height * (1 - 0.95 * (height(losses[name]) / top)));
    });
    pencil.strokeStyle = styles.getPropertyValue(color);
    pencil.lineWidth = 2;
    pencil.stroke();
  }
  const { train, test } = history.at(-1);
  canvas.setAttribute("aria-label", `Loss by epoch, logarithmic: training ${train.toFixed(3)}, test ${test.toFixed(3)} at epoch ${trainer.epoch}`);
}

// The drawn digit, as large and in the middle as the examples.
function showDrawing() {
  if (!trainer || !isDigits()) return;
  const body = find("bars").tBodies[0];
  if (drawing.empty) {
    body.replaceChildren();
    return;
  }
  const points = drawing.strokes.flat();
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const middle = [xs, ys].map((values) => (Math.min(...values) + Math.max(...values)) / 2);
  const size = Math.max(Math.max(...ys) - Math.min(...ys), Math.max(...xs) - Math.min(...xs), 0.1);
  const strokes = drawing.strokes.map((stroke) => stroke.map((point) => point.map((value, axis) => 50 + (70 * (value - middle[axis])) / size)));
  const shares = trainer.network.predict(rasterize(strokes, 6.5));
  while (body.rows.length < 10) body.append(barRow(body.rows.length));
  const best = shares.indexOf(Math.max(...shares));
  shares.forEach((share, digit) => {
    const row = body.rows[digit];
    row.className = digit === best ? "best" : "";
    row.cells[1].firstElementChild.style.width = `${100 * share}%`;
    row.cells[2].textContent = percent(share);
  });
}

function barRow(digit) {
  const row = make("tr");
  const head = make("th", "", String(digit));
  head.scope = "row";
  const cell = make("td");
  cell.append(make("div", "bar"));
  row.append(head, cell, make("td"));
  return row;
}

function showWeights() {
  const tables = trainer.network.layers.map(({ inputs, outputs, weights, biases, slopes }, layer) => {
    if (isDigits() && layer === 0) return make("p", "hint", `Layer 1 has ${weights.length.toLocaleString("en")} weights: see its images.`);
    const table = make("table");
    const isLast = layer === trainer.network.layers.length - 1;
    table.append(make("caption", "", isLast ? "Output" : `Layer ${layer + 1}`));
    const names = layer === 0 ? settings.features : Array.from({ length: inputs }, (_, index) => `neuron ${index + 1}`);
    const head = table.createTHead().insertRow();
    for (const name of ["to", ...names, "bias", ...(slopes.length ? ["slope"] : [])]) {
      const cell = make("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    for (let output = 0; output < outputs; output++) {
      const row = table.insertRow();
      const cell = make("th", "", String(isDigits() && isLast ? output : output + 1));
      cell.scope = "row";
      row.append(cell);
      const numbers = [...weights.subarray(output * inputs, (output + 1) * inputs), biases[output], ...slopes.subarray(output, output + 1)];
      for (const number of numbers) row.insertCell().textContent = number.toFixed(2);
    }
    return table;
  });
  find("weights").querySelector("div").replaceChildren(...tables);
}

function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

for (const [name, choices] of Object.entries(CHOICES)) {
  find("settings").elements.namedItem(name).append(...choices.map((choice) => new Option(choice, choice)));
}
find("settings").addEventListener("input", ({ target }) => {
  const isText = ["data", "activation", "optimizer", "regularization"].includes(target.name);
  apply({ [target.name]: isText ? target.value : Number(target.value) });
});
find("settings").addEventListener("submit", (event) => event.preventDefault());
find("data-again").addEventListener("click", () => apply({ seed: settings.seed + 1 }));
find("run").addEventListener("click", () => (running ? pause() : run()));
find("reset").addEventListener("click", restart);
find("step").addEventListener("click", () => {
  pause();
  const { epoch } = trainer;
  do step(); while (trainer.epoch === epoch);
  record();
  show();
  if (find("weights").open) showWeights();
});
find("fewer-layers").addEventListener("click", () => apply({ layers: settings.layers.slice(0, -1) }));
find("more-layers").addEventListener("click", () => apply({ layers: [...settings.layers, settings.layers.at(-1) ?? 4] }));
find("clear").addEventListener("click", () => drawing.clear());
find("show-test").addEventListener("change", redraw);
find("weights").addEventListener("toggle", showWeights);
window.addEventListener("hashchange", () => {
  settings = parse(window.location.hash);
  fillForm();
  restart();
});
new ResizeObserver(placeLines).observe(find("diagram"));
dark.addEventListener("change", () => {
  palette = null;
  redraw();
});

settings = parse(window.location.hash);
fillForm();
restart();
