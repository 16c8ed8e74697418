// A drawing area: strokes by pointer or keys, undo, and export as PNG.

const PEN = 0.075; // width of a stroke, as a share of the canvas
const STEP = 0.03; // distance that an arrow key moves the pen
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Drawing {
  // Points are shares of the canvas. `changed` is called after every change.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.current = null;
    this.pen = [0.5, 0.2];
    this.penShown = false;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => this.#lift());
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.#lift(); this.penShown = false; this.#draw(); });
    this.#draw();
  }

  get empty() {
    return this.strokes.length === 0;
  }

  clear() {
    this.#replace([]);
  }

  undo() {
    this.#replace(this.strokes.slice(0, -1));
  }

  // Strokes in a square, by default those of a sample.
  show(strokes, side = 100) {
    this.#replace(strokes.map((stroke) => stroke.map(([x, y]) => [x / side, y / side])));
  }

  // The drawing without the pen, as a PNG blob. Does not use toBlob, which waits until the browser is
  // idle, on a busy machine for seconds.
  png() {
    const sheet = document.createElement("canvas");
    sheet.width = this.canvas.width;
    sheet.height = this.canvas.height;
    drawStrokes(sheet, this.strokes);
    const [, base64] = sheet.toDataURL("image/png").split(",");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return new Blob([bytes], { type: "image/png" });
  }

  #replace(strokes) {
    this.strokes = strokes;
    this.current = null;
    this.#draw();
    this.changed();
  }

  #down(event) {
    if (event.button !== 0 || !event.isPrimary) return; // of several fingers, only the first draws
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(this.#point(event));
  }

  #move(event) {
    if (!this.current || !this.canvas.hasPointerCapture(event.pointerId)) return;
    const points = event.getCoalescedEvents?.() ?? [event];
    for (const point of points.length ? points : [event]) this.current.push(this.#point(point));
    this.#draw();
    this.changed();
  }

  #key(event) {
    if (event.key === " ") {
      if (this.current) this.#lift();
      else this.#begin([...this.pen]);
    } else if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key];
      this.pen = [within(this.pen[0] + x * STEP), within(this.pen[1] + y * STEP)];
      if (this.current) {
        this.current.push([...this.pen]);
        this.changed();
      }
    } else if (event.key === "Escape") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.penShown = true;
    this.#draw();
  }

  #begin(point) {
    this.current = [point];
    this.strokes.push(this.current);
    this.#draw();
    this.changed();
  }

  #lift() {
    this.current = null;
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #draw() {
    drawStrokes(this.canvas, this.strokes);
    if (!this.penShown) return;
    const pencil = this.canvas.getContext("2d");
    const [x, y] = this.pen;
    pencil.beginPath();
    pencil.arc(x * this.canvas.width, y * this.canvas.height, 8, 0, 2 * Math.PI);
    pencil.strokeStyle = "#c2410c";
    pencil.lineWidth = 2;
    pencil.stroke();
  }
}

export function drawStrokes(canvas, strokes) {
  const pencil = canvas.getContext("2d");
  const { width, height } = canvas;
  pencil.fillStyle = "#fff";
  pencil.fillRect(0, 0, width, height);
  pencil.strokeStyle = "#111";
  pencil.lineWidth = PEN * width;
  pencil.lineCap = pencil.lineJoin = "round";
  for (const stroke of strokes) {
    pencil.beginPath();
    for (const [x, y] of stroke) pencil.lineTo(x * width, y * height);
    if (stroke.length === 1) pencil.lineTo(stroke[0][0] * width + 0.1, stroke[0][1] * height);
    pencil.stroke();
  }
}

function within(share) {
  return Math.min(0.97, Math.max(0.03, share));
}
