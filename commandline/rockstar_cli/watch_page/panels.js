// What a network has learned so far: confusion matrix, weights as images, a line and its bowl.

import { axes, canvas, element, html, path, short } from "./charts.js";

function bytes(base64, kind) {
  return new kind(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);
}

function card(title) {
  const body = html("div");
  return { body, element: html("section", { className: "card watch-panel" }, html("h3", { textContent: title }), body) };
}

function lastUntil(items, epoch) {
  return items.findLast((item) => item.epoch <= epoch) ?? items[0];
}

class Panel {
  constructor(run, title) {
    this.run = run;
    this.title = title;
    Object.assign(this, card(title));
  }

  // Titles name the run if there are several.
  label(several) {
    this.element.firstChild.textContent = several ? `${this.title}: ${this.run.label}` : this.title;
  }
}

export class Confusion extends Panel {
  static applies(run) {
    return run.snapshots.some(({ confusion }) => confusion);
  }

  constructor(run) {
    super(run, "Confusion matrix");
    const { labels } = run.meta;
    this.cells = [];
    this.caption = html("caption");
    const head = html("tr", {}, html("td", { ariaHidden: "true" }), ...labels.map((label) => html("th", { textContent: label, scope: "col", title: `predicted ${label}` })));
    const rows = labels.map((label, row) => {
      const cells = labels.map((_, column) => html("td", { className: row === column ? "right" : "" }));
      this.cells.push(...cells);
      return html("tr", {}, html("th", { textContent: label, scope: "row", title: `is ${label}` }), ...cells);
    });
    const table = html("table", { className: "confusion" }, this.caption, html("thead", {}, head), html("tbody", {}, ...rows));
    this.body.append(html("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Confusion matrix" }, table));
  }

  draw(epoch) {
    const { labels, sample } = this.run.meta;
    const { confusion, epoch: taken } = lastUntil(this.run.snapshots, epoch);
    const size = labels.length;
    let [right, total, worst, place] = [0, 0, 0, 0];
    confusion.forEach((count, index) => {
      const [row, column] = [Math.floor(index / size), index % size];
      total += count;
      if (row === column) right += count;
      else if (count > worst) [worst, place] = [count, index];
    });
    confusion.forEach((count, index) => {
      const row = Math.floor(index / size) * size;
      const sum = confusion.slice(row, row + size).reduce((a, b) => a + b, 0);
      const cell = this.cells[index];
      cell.textContent = count;
      cell.classList.toggle("zero", count === 0);
      cell.style.setProperty("--share", sum ? count / sum : 0);
    });
    const mistake = worst ? ` Most frequent mistake: ${labels[Math.floor(place / size)]} taken for ${labels[place % size]}, ${worst} ×.` : "";
    this.caption.textContent = `After epoch ${taken}, ${right} of ${total} ${sample} examples are right. Rows: labels, columns: predictions.${mistake}`;
  }
}

export class Images extends Panel {
  static applies(run) {
    return run.snapshots.some(({ images }) => images);
  }

  constructor(run) {
    const perClass = run.meta.model === "logistic";
    super(run, perClass ? "Weights as images" : run.meta.model === "cnn" ? "Filters of the first layer" : "Weights of the first layer");
    this.perClass = perClass;
    this.grid = html("div", { className: "images" });
    this.text = perClass
      ? "Ink on orange speaks for the label, ink on blue against it."
      : "Orange weights are positive, blue ones negative.";
    this.legend = html("p", { className: "legend" });
    this.body.append(this.grid, this.legend);
    this.canvases = [];
  }

  draw(epoch) {
    const { images, epoch: taken } = lastUntil(this.run.snapshots, epoch);
    this.legend.textContent = `After epoch ${taken}. ${this.text}`;
    const [count, height, width, channels] = images.shape;
    while (this.canvases.length < count) {
      const number = this.canvases.length;
      const name = this.perClass ? this.run.meta.labels[number] : String(number + 1);
      const sheet = html("canvas", { width, height, role: "img", ariaLabel: `Weights of ${this.perClass ? name : `filter ${name}`}` });
      this.canvases.push(sheet);
      this.grid.append(html("figure", {}, sheet, ...(this.perClass ? [html("figcaption", { textContent: name })] : [])));
    }
    const style = getComputedStyle(document.documentElement);
    const [positive, negative, zero] = ["--second", "--first", "--back"].map((name) => rgb(style.getPropertyValue(name)));
    const pixels = bytes(images.pixels, Int8Array);
    this.canvases.forEach((sheet, number) => {
      const pencil = sheet.getContext("2d");
      const image = pencil.createImageData(width, height);
      for (let place = 0; place < width * height; place++) {
        const at = (number * width * height + place) * channels;
        for (let color = 0; color < 3; color++) {
          const value = pixels[at + (channels === 3 ? color : 0)] / 127;
          const [from, to] = [zero[color], (value > 0 ? positive : negative)[color]];
          image.data[4 * place + color] = channels === 3 ? 127.5 * (1 + value) : from + Math.abs(value) * (to - from);
        }
        image.data[4 * place + 3] = 255;
      }
      pencil.putImageData(image, 0, 0);
    });
  }
}

function rgb(color) {
  const hex = color.trim().slice(1);
  return [0, 2, 4].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

// W and b at the start, and after each epoch until the one shown.
function descent(run, epoch) {
  const { start } = run.meta.points;
  return [start, ...run.epochs.filter((each) => each.epoch <= epoch && each.line).map(({ line }) => line)].filter(Boolean);
}

export class Line extends Panel {
  static applies(run) {
    return Boolean(run.meta.points);
  }

  constructor(run) {
    super(run, "The line");
    this.figure = html("figure");
    this.caption = html("p", { className: "legend" });
    this.body.append(this.figure, this.caption);
  }

  draw(epoch) {
    const { x, y, mean, scale, column, target } = this.run.meta.points;
    const xs = x.map((value) => value * scale + mean);
    const [w, b] = descent(this.run, epoch).at(-1);
    const [slope, intercept] = [w / scale, b - (w * mean) / scale];
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [low, high] = [Math.min(...y), Math.max(...y)];
    const margin = (high - low) * 0.15 || 1;
    const text = `y = ${short(slope)} x ${intercept < 0 ? "−" : "+"} ${short(Math.abs(intercept))}`;
    const svg = canvas(`${x.length} points, and the line ${text}`);
    const clip = element("clipPath", { id: `clip-${this.run.number}` }, element("rect", { x: 46, y: 8, width: 340, height: 178 }));
    svg.append(clip);
    const place = axes(svg, [left, right], [low - margin, high + margin], { labels: [column, target] });
    xs.forEach((value, number) => svg.append(element("circle", { class: "point", cx: place.x(value), cy: place.y(y[number]), r: 3 })));
    const ends = [left, right].map((value) => [value, slope * value + intercept]);
    svg.append(element("polyline", { class: "series second", points: path(ends, place.x, place.y), "clip-path": `url(#clip-${this.run.number})` }));
    this.figure.replaceChildren(svg);
    this.caption.textContent = text;
  }
}

// The mean squared error as a function of W and b, from above and from the side.
export class Bowl extends Panel {
  static applies(run) {
    return Boolean(run.meta.points);
  }

  constructor(run) {
    super(run, "Gradient descent in the bowl");
    this.element.classList.add("watch-wide");
    this.figure = html("figure", { className: "views" });
    this.caption = html("p", { className: "legend" });
    this.body.append(this.figure, this.caption);
  }

  draw(epoch) {
    const { moments: [xx, x, xy, y, yy], scale, mean } = this.run.meta.points;
    const error = ([w, b]) => w * w * xx + 2 * w * b * x + b * b - 2 * w * xy - 2 * b * y + yy;
    const whole = descent(this.run, Infinity);
    const shown = descent(this.run, epoch);
    const [w, b] = shown.at(-1);
    // Of thousands of epochs, not all are recorded.
    const taken = this.run.epochs.findLast((each) => each.line && each.epoch <= epoch)?.epoch ?? 0;
    const words = `After epoch ${taken}: W = ${short(w)}, b = ${short(b)}, mean squared error ${short(Math.max(0, error([w, b])))}`;
    const standard = scale === 1 && mean === 0 ? "" : " W and b are those of the standardized column.";
    this.caption.textContent = `${words}.${standard}`;
    const determinant = xx - x * x;
    // With a single x, there is a valley, not a bowl.
    this.figure.hidden = determinant < 1e-9 * xx;
    if (this.figure.hidden) return;
    const lowest = [(xy - x * y) / determinant, (xx * y - x * xy) / determinant];
    // The rim is as high as the start, or higher if the path climbs; a diverging path leaves the view.
    const heights = whole.map((at) => error(at) - error(lowest)).filter(Number.isFinite);
    const rim = Math.max(1e-9, Math.min(Math.max(...heights), 4 * heights[0])) * 1.1;
    const extents = [Math.sqrt(rim / determinant), Math.sqrt((rim * xx) / determinant)];
    const reach = extents.map((each) => Math.max(each, Math.max(...extents) / 4));
    const ring = ellipse(xx, x, rim);
    const step = Math.ceil(shown.length / 400);
    const some = shown.filter((at, number) => at.every(Number.isFinite) && (number % step === 0 || number === shown.length - 1));
    const views = [
      ["From above: W across, b up", (u, v) => [100 + 92 * u, 100 - 92 * v]],
      ["From the side", (u, v, h) => [100 + 66 * (u * 0.87 - v * 0.5), 158 + 26 * (u * 0.5 + v * 0.87) - 120 * h]],
    ].map(([name, view]) => {
      const place = (at) => {
        const [u, v] = [0, 1].map((axis) => (at[axis] - lowest[axis]) / reach[axis]);
        return view(u, v, (error(at) - error(lowest)) / rim).map((value) => value.toFixed(1));
      };
      const along = ([p, q], share) => [lowest[0] + p * share, lowest[1] + q * share];
      const svg = element("svg", { viewBox: "0 0 200 200", role: "img", "aria-label": `${name}: a bowl, and the way down. ${words}` });
      const line = (name, className, points) => svg.append(element(name, { class: className, points: points.map((at) => place(at).join(",")).join(" ") }));
      for (let share = 1; share > 0.05; share -= 0.125) line("polygon", "contour", ring.map((at) => along(at, share)));
      if (name.includes("side")) {
        const shares = Array.from({ length: 13 }, (_, number) => number / 12);
        for (const at of ring.filter((_, number) => number % 4 === 0)) line("polyline", "contour rib", shares.map((share) => along(at, share)));
      }
      line("polyline", "series second", some);
      if (some.length <= 60) for (const at of some) svg.append(circle(place(at), 1.8));
      if (some.length) svg.append(circle(place(some.at(-1)), 4));
      return html("div", {}, svg, html("figcaption", { textContent: name }));
    });
    this.figure.replaceChildren(...views);
  }
}

function circle([cx, cy], r) {
  return element("circle", { class: "head", cx, cy, r });
}

// Where the error is this much above its minimum, relative to there: an ellipse, from the
// eigenvectors of the curvature [[xx, x], [x, 1]].
function ellipse(xx, x, height) {
  const [middle, spread] = [(xx + 1) / 2, Math.hypot((xx - 1) / 2, x)];
  const angle = 0.5 * Math.atan2(2 * x, xx - 1);
  const [short, long] = [middle + spread, middle - spread].map((value) => Math.sqrt(height / value));
  return Array.from({ length: 48 }, (_, number) => {
    const turn = (number / 48) * 2 * Math.PI;
    const [p, q] = [short * Math.cos(turn), long * Math.sin(turn)];
    return [p * Math.cos(angle) - q * Math.sin(angle), p * Math.sin(angle) + q * Math.cos(angle)];
  });
}

// The drawing, as the networks see it, and what they make of it.
export class Predictions {
  constructor(run) {
    this.run = run;
    this.title = html("h4");
    this.seen = html("canvas", { className: "seen", role: "img", ariaLabel: "What the network sees" });
    this.rows = run.meta.labels.map((label) => {
      const bar = html("div", { className: "bar" });
      const value = html("td");
      return { bar, value, row: html("tr", {}, html("th", { textContent: label, scope: "row" }), html("td", {}, bar), value) };
    });
    this.problem = html("p", { className: "problem" });
    const table = html("table", { className: "bars" }, ...this.rows.map(({ row }) => row));
    this.result = html("div", {}, this.seen, table);
    this.element = html("div", {}, this.title, this.problem, this.result);
  }

  draw(epoch, several) {
    const { drawing, label } = this.run;
    const found = drawing?.scores.length ? lastUntil(drawing.scores, epoch) : null;
    this.result.hidden = !found;
    this.problem.textContent = this.run.drawingProblem;
    const scores = found?.scores ?? [];
    const best = scores.indexOf(Math.max(...scores));
    const prefix = several ? `${label}: ` : "";
    const after = found ? ` after epoch ${found.epoch}` : "";
    this.title.textContent = found ? `${prefix}${this.run.meta.labels[best]}${after}` : prefix.replace(": ", "");
    if (!found) return;
    this.rows.forEach(({ bar, value, row }, number) => {
      bar.style.width = `${100 * scores[number]}%`;
      value.textContent = scores[number].toFixed(3);
      row.classList.toggle("best", number === best);
    });
    const [height, width] = this.run.meta.image;
    Object.assign(this.seen, { width, height });
    const pencil = this.seen.getContext("2d");
    const image = pencil.createImageData(width, height);
    bytes(drawing.image, Uint8Array).forEach((value, place) => image.data.set([value, value, value, 255], 4 * place));
    pencil.putImageData(image, 0, 0);
  }
}
