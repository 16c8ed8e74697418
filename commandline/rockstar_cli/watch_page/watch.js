// The page: follows the events of one or two runs, and sends requests to their trainings.

import { Drawing } from "./drawing.js";
import { SAMPLES } from "./samples.js";
import { html, LineChart, short } from "./charts.js";
import { Bowl, Confusion, Images, Line, Predictions } from "./panels.js";

const find = (id) => document.getElementById(id);
const SPEAK_EVERY = 3000; // ms between sentences for screen readers
const HIDDEN_FOR = 5000; // ms after which a hidden page stops following; browsers limit connections
const REPLAY_MS = 8000;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const query = new URLSearchParams(location.search);
const runs = [];
const charts = [
  ["Loss", {}, [["training", "loss"], ["validation", "val_loss"]]],
  ["Accuracy", { share: true }, [["training", "accuracy"], ["validation", "val_accuracy"]]],
  ["Learning rate", { linear: true }, [["", "learning_rate"]]],
].map(([title, options, parts]) => ({ chart: new LineChart(title, options), parts }));

let token = "";
let source = null;
let lastId = "";
let shownEpoch = null; // null for the latest
let playing = 0;
let drawTimer = 0;
let scheduled = false;
let spoken = 0;

// One run, as its events tell it.
class Run {
  constructor(number) {
    this.number = number;
    this.name = "";
    this.state = "";
    this.reset();
    this.element = find("run").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    this.parts = {
      title: part("h2"), state: part(".state"), numbers: part(".numbers"), progress: part("progress"),
      controls: part(".controls"), form: part("form"), rate: part("input"), problem: part(".problem"),
    };
    this.buttons = Object.fromEntries([...this.element.querySelectorAll("[data-action]")].map((button) => [button.dataset.action, button]));
    for (const [action, button] of Object.entries(this.buttons)) button.addEventListener("click", () => this.#press(action));
    this.parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#setRate();
    });
    find("runs").append(this.element);
  }

  reset() {
    this.meta = null;
    this.epochs = [];
    this.snapshots = [];
    this.drawing = null;
    this.drawingProblem = "";
    this.part = null;
    this.phase = "preparing";
    this.message = "";
    this.finished = null;
    this.rate = null;
    this.slow = false;
    this.panels = null;
    this.predictions?.element.remove();
    this.predictions = null;
  }

  apply(event) {
    switch (event.event) {
      case "file":
        this.reset();
        break;
      case "start":
        this.meta = event;
        this.phase = "training";
        // An interrupted training continues after its checkpoint.
        this.epochs = this.epochs.filter(({ epoch }) => epoch <= event.epoch);
        this.snapshots = this.snapshots.filter(({ epoch }) => epoch <= event.epoch);
        if (this.drawing) this.drawing.scores = this.drawing.scores.filter(({ epoch }) => epoch <= event.epoch);
        this.slow = false;
        this.part = null;
        break;
      case "epoch":
        this.epochs.push(event);
        this.part = null;
        if (this.phase === "preparing") this.phase = "training";
        break;
      case "part":
        this.part = event;
        break;
      case "snapshot":
        if (this.snapshots.at(-1)?.epoch === event.epoch) this.snapshots.pop();
        this.snapshots.push(event);
        break;
      case "drawing":
        this.drawingProblem = event.problem ?? "";
        if (event.image) this.drawing = { image: event.image, scores: [event] };
        else if (event.scores && this.drawing) this.drawing.scores.push(event);
        break;
      case "cleared":
        this.drawing = null;
        break;
      case "rate":
        this.rate = event.value;
        break;
      case "slow":
        this.slow = event.value;
        break;
      case "resumed":
        this.phase = "training";
        this.message = event.reason ? `Training continued, as ${event.reason}.` : "";
        break;
      case "finished":
        this.phase = "finished";
        this.finished = event;
        break;
      case "failed":
      case "interrupted":
        this.message = event.message;
        this.phase = event.event;
        break;
      case "paused":
      case "stopping":
      case "testing":
        this.phase = event.event;
    }
  }

  // The folder of an unfinished run is not a name to remember.
  get label() {
    return this.finished?.run ?? (this.state === "running" ? this.meta?.name : this.name) ?? this.name;
  }

  get last() {
    return this.epochs.at(-1) ?? null;
  }

  get over() {
    return ["finished", "failed", "interrupted"].includes(this.phase);
  }

  get running() {
    return this.state === "running" && !this.over && this.phase !== "testing" && Boolean(this.meta?.controls);
  }

  get takesDrawings() {
    return Boolean(this.meta?.image && this.meta.image[2] === 1 && this.meta.labels.length && (this.running || this.drawing));
  }

  sentence() {
    const at = this.last?.epoch ?? this.meta?.epoch ?? 0;
    if (this.phase === "finished") return this.#result();
    if (this.phase === "failed") return `Training failed: ${this.message}`;
    if (this.phase === "interrupted") return `${this.message} This page follows.`;
    if (this.state === "removed") return "The folder of this run was removed; what came before stays on this page until it is closed.";
    if (this.state === "missing") return "There is no such run, or it cannot be read.";
    if (this.state === "ended") return `The training process has ended after epoch ${at} without a result: it was killed, or the computer restarted. The same command continues it, and this page follows.`;
    const total = this.meta?.epochs;
    const share = this.part ? `, ${Math.round(100 * this.part.share)} % of the next` : "";
    switch (this.phase) {
      case "paused": return `Paused after epoch ${at} of ${total}. Training continues a minute after the last page was closed.`;
      case "stopping": return `Stopping after epoch ${at}: what was learned is kept.`;
      case "testing": return `Trained for ${at} epochs. Testing on held-out examples, and exporting.`;
      case "training": return at || share ? `Training: ${at} of ${total} epochs done${share}.` : "Training: the first epoch has begun.";
      default: return "Preparing: reading the data and loading TensorFlow takes a few seconds.";
    }
  }

  #result() {
    const { run, metrics, held } = this.finished;
    const accuracy = metrics.test_accuracy ?? metrics.test_r2;
    const name = metrics.test_accuracy === undefined ? "R²" : "accuracy";
    const score = accuracy === undefined ? "" : `, ${name} ${short(accuracy)} on held-out examples`;
    const kept = held ? ` It is not served: ${held}.` : "";
    return `Finished as ${run}: ${this.last?.epoch ?? 0} epochs${score}.${kept} Its folder has report.html.`;
  }

  numbers() {
    const found = this.part ?? this.last;
    if (!found) return "";
    const { loss, accuracy, val_loss, val_accuracy } = found;
    const named = { loss, accuracy, "validation loss": val_loss, "validation accuracy": val_accuracy };
    return Object.entries(named).filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => `${name} ${short(value)}`).join(", ");
  }

  show() {
    const { title, state, numbers, progress, controls, rate, problem } = this.parts;
    title.textContent = this.meta ? `${this.label}: ${this.meta.model} on ${this.meta.data}` : this.name || "Training";
    set(state, this.sentence());
    set(numbers, this.numbers());
    this.element.classList.toggle("failed", this.phase === "failed" || (this.state === "ended" && !this.over));
    const total = this.meta?.epochs || 1;
    progress.value = this.phase === "finished" ? 1 : ((this.last?.epoch ?? 0) + (this.part?.share ?? 0)) / total;
    controls.hidden = !this.running;
    controls.setAttribute("aria-label", `Controls of ${this.label}`);
    set(this.buttons.pause, this.phase === "paused" ? "Resume" : "Pause");
    this.buttons.step.hidden = this.phase !== "paused";
    this.buttons.slow.setAttribute("aria-pressed", this.slow);
    if (document.activeElement !== rate && this.rate !== null) rate.value = short(this.rate);
    if (this.over) problem.textContent = "";
  }

  #press(action) {
    if (action === "pause") this.send({ action: this.phase === "paused" ? "resume" : "pause" });
    else if (action === "slow") this.send({ action, value: !this.slow });
    else if (action === "step") this.send({ action });
    else if (confirm("Stop now? The network is tested and published as it is.")) this.send({ action });
  }

  #setRate() {
    const value = Number(this.parts.rate.value.replace(",", "."));
    if (!(value > 0 && Number.isFinite(value))) {
      this.parts.problem.textContent = `Learning rate: expected a number above 0, got “${this.parts.rate.value}”.`;
      return;
    }
    this.send({ action: "rate", value });
    this.parts.rate.blur();
  }

  async send(instruction) {
    this.parts.problem.textContent = "";
    try {
      const response = await fetch(`requests?run=${encodeURIComponent(this.name)}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Token": token },
        body: JSON.stringify(instruction),
      });
      if (!response.ok) this.parts.problem.textContent = (await response.json()).error;
    } catch {
      this.parts.problem.textContent = "The training process does not respond.";
    }
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The stream of events.

function connect() {
  source?.close();
  const url = new URLSearchParams(query);
  if (lastId) url.set("last", lastId);
  source = new EventSource(`events?${url}`);
  source.addEventListener("open", () => set(find("connection"), ""));
  source.addEventListener("message", receive);
  source.addEventListener("error", lost);
}

function receive(message) {
  if (message.lastEventId) lastId = message.lastEventId;
  const data = JSON.parse(message.data);
  if (data.token) token = data.token;
  if (data.run === undefined && !data.state) return;
  const number = data.run ?? 0;
  if (data.state === "missing" && data.run === undefined) {
    set(find("connection"), "There is no such run; the list has those that there are.");
    listRuns();
    return;
  }
  runs[number] ??= new Run(number);
  const run = runs[number];
  for (const event of data.events) run.apply(event);
  // A training that continues does not know the drawing.
  if (data.state === "running" && run.state !== "running" && !drawing.empty) drawTimer = setTimeout(sendDrawing, 250);
  if (data.state) run.state = data.state;
  if (data.name && data.name !== run.name) {
    run.name = data.name;
    listRuns();
  }
  update();
}

// Whether nothing can follow; an interrupted training may continue.
function settled() {
  return runs.length > 0 && runs.every((run) => run.over && run.phase !== "interrupted");
}

function lost() {
  if (settled()) {
    source.close();
    return;
  }
  for (const run of runs) run.state = "lost";
  if (!runs.length || runs.some((run) => !run.over)) set(find("connection"), "The training process has ended, or does not respond: see the terminal. This page tries to reach it again.");
  update();
  // Browsers try again themselves, except after an answer that is no stream.
  if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
}

let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!document.hidden) {
    if (source.readyState === EventSource.CLOSED && !settled()) connect();
  } else if (!runs.some((run) => run.phase === "paused")) {
    hiding = setTimeout(() => source.close(), HIDDEN_FOR);
  }
});

// Drawing everything, once per frame.

function update() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render();
  });
}

function render() {
  const known = runs.filter((run) => run.meta);
  const last = Math.max(0, ...known.map((run) => run.last?.epoch ?? 0));
  const epoch = shownEpoch ?? Infinity;
  for (const run of runs) run.show();
  document.title = known.map((run) => run.label).filter(Boolean).join(" and ") || "Training";
  replayBar(last);
  for (const { chart, parts } of charts) chart.draw(known.flatMap((run) => curves(run, parts)), shownEpoch);
  drawingArea(known, epoch);
  for (const run of known) preparePanels(run);
  const panels = known.flatMap((run) => run.panels);
  for (const panel of panels) {
    panel.label(known.length > 1);
    panel.draw(epoch);
  }
  const kinds = [Line, Bowl, Confusion, Images];
  const sorted = kinds.flatMap((kind) => panels.filter((panel) => panel instanceof kind));
  const [loss, accuracy, rate] = charts.map(({ chart }) => chart.element);
  arrange([drawingPanel.element, loss, accuracy, ...sorted.map((panel) => panel.element), rate]);
  speak();
}

// Only what changed is moved, so that focus stays.
function arrange(elements) {
  const place = find("panels");
  if (elements.length === place.children.length && elements.every((each, number) => place.children[number] === each)) return;
  place.replaceChildren(...elements);
}

function curves(run, parts) {
  const several = runs.length > 1;
  return parts.map(([name, field], number) => ({
    name: [several ? run.label : "", name].filter(Boolean).join(" ") || "rate",
    className: `${["first", "second"][several ? run.number : number]} ${number ? "dashed" : ""}`,
    points: run.epochs.filter((epoch) => epoch[field] !== null && epoch[field] !== undefined).map((epoch) => [epoch.epoch, epoch[field]]),
  }));
}

function preparePanels(run) {
  const kinds = [Line, Bowl, Confusion, Images].filter((kind) => kind.applies(run));
  if (run.panels?.length === kinds.length) return;
  run.panels = kinds.map((kind) => new kind(run));
}

function speak() {
  const now = Date.now();
  const run = runs[0];
  if (!run || (now - spoken < SPEAK_EVERY && !run.over)) return;
  spoken = now;
  const numbers = run.numbers();
  const drawn = run.drawing ? ` The drawing is taken for ${run.predictions?.title.textContent ?? ""}.` : "";
  set(find("live"), `${run.sentence()}${numbers ? ` ${numbers}.` : ""}${drawn}`);
}

// Replay.

function replayBar(last) {
  const slider = find("epoch");
  find("replay").hidden = last === 0;
  slider.max = last;
  if (shownEpoch === null) slider.value = last;
  slider.setAttribute("aria-valuetext", `epoch ${slider.value} of ${last}`);
  set(find("shown"), shownEpoch === null ? `${last}, the latest` : `${shownEpoch} of ${last}`);
  find("latest").hidden = shownEpoch === null;
  set(find("play"), playing ? "Stop replay" : "Replay");
}

function showEpoch(epoch) {
  shownEpoch = epoch;
  if (epoch !== null) find("epoch").value = epoch;
  update();
}

function stopReplay() {
  cancelAnimationFrame(playing);
  playing = 0;
}

find("epoch").addEventListener("input", (event) => {
  stopReplay();
  const value = Number(event.target.value);
  showEpoch(value === Number(event.target.max) ? null : value);
});
find("latest").addEventListener("click", () => {
  stopReplay();
  showEpoch(null);
});
find("play").addEventListener("click", () => {
  if (playing) {
    stopReplay();
    update();
    return;
  }
  const started = performance.now();
  const tick = (now) => {
    const last = Number(find("epoch").max);
    let share = Math.min(1, (now - started) / REPLAY_MS);
    if (still.matches) share = Math.floor(share * 10) / 10;
    if (share >= 1) {
      stopReplay();
      showEpoch(null);
      return;
    }
    const epoch = Math.round(share * last);
    if (epoch !== shownEpoch) showEpoch(epoch);
    playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
});

// The drawing.

const drawingPanel = (() => {
  const sheet = html("canvas", { width: 336, height: 336, tabIndex: 0 });
  sheet.setAttribute("role", "application");
  sheet.setAttribute("aria-label", "Drawing area");
  sheet.setAttribute("aria-describedby", "keys");
  const clear = html("button", { type: "button", textContent: "Clear" });
  const example = html("button", { type: "button", textContent: "Example" });
  const results = html("div");
  const input = html("div", {}, html("div", { className: "paper" }, sheet), html("div", { className: "buttons" }, clear, example));
  const keys = html("p", { id: "keys", className: "hint", textContent: "Draw with mouse, pen or finger; with keys, arrows move the pen, space lowers and lifts it. The network predicts it again after every epoch." });
  const element = html("section", { className: "card watch-panel", hidden: true }, html("h3", { textContent: "Your digit" }), html("div", { className: "draw" }, input, results), keys);
  return { element, sheet, clear, example, results, input, keys };
})();

const drawing = new Drawing(drawingPanel.sheet, () => {
  clearTimeout(drawTimer);
  drawTimer = setTimeout(sendDrawing, 250);
});

async function sendDrawing() {
  const wanted = runs.filter((run) => run.running && run.takesDrawings);
  if (drawing.empty) {
    for (const run of wanted) run.send({ action: "clear" });
    return;
  }
  const bytes = new Uint8Array(await drawing.png().arrayBuffer());
  const png = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  for (const run of wanted) run.send({ action: "draw", png });
}

drawingPanel.clear.addEventListener("click", () => drawing.clear());
drawingPanel.example.addEventListener("click", () => {
  const digits = Object.keys(SAMPLES);
  drawing.show(SAMPLES[digits[Math.floor(Math.random() * digits.length)]]);
});

function drawingArea(known, epoch) {
  const wanted = known.filter((run) => run.takesDrawings);
  drawingPanel.element.hidden = wanted.length === 0;
  const canDraw = wanted.some((run) => run.running);
  drawingPanel.keys.hidden = drawingPanel.input.hidden = !canDraw;
  drawingPanel.element.classList.toggle("watch-tall", canDraw);
  for (const run of wanted) {
    run.predictions ??= new Predictions(run);
    if (!run.predictions.element.isConnected) drawingPanel.results.append(run.predictions.element);
    run.predictions.draw(epoch, known.length > 1);
  }
}

// Comparing with another run.

async function listRuns() {
  let names = [];
  try {
    ({ names } = await (await fetch("runs")).json());
  } catch {
    return; // the connection is lost, which is shown
  }
  const select = find("compare");
  const shown = runs.map((run) => run.name);
  const others = names.filter((name) => name !== shown[0]);
  const none = html("option", { value: "", textContent: "no other run" });
  select.replaceChildren(none, ...others.map((name) => html("option", { value: name, textContent: name })));
  select.value = shown[1] ?? "";
  find("compare-field").hidden = others.length === 0;
}

find("compare").addEventListener("change", (event) => {
  const chosen = new URLSearchParams([["run", runs[0].name]]);
  if (event.target.value) chosen.append("run", event.target.value);
  location.search = chosen;
});
find("compare").addEventListener("focus", listRuns);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
connect();
