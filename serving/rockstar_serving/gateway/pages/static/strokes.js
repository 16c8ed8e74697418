// Finds the strokes of one handwritten symbol in a photograph: the same results as
// contract/rockstar_contract/strokes.py, which explains the steps and the constants. A picture is
// { data, height, width }, of ink a Float32Array, a mask a Uint8Array of 0 and 1.

import { resizeBox, round } from "./resampling.js";

const WORK = 240;
const [PEN, WIDEST] = [0.09, 0.2];
const SMALLEST = 0.06;
const FAINTEST = 0.06;
const NEAR = 70;
const MAX_PADDED = 2 ** 25;
const [THIN, THICK] = [0.1, 0.2];
const BLOB = 0.25;
const f32 = Math.fround;
const { max, min, trunc, floor } = Math;

// Cuts out the symbol in 8-bit pixels and draws it light on black, with a black margin; one black
// pixel if no symbol is found.
export function isolateStrokes(gray) {
  let picture = { data: gray.data, height: gray.height, width: gray.width };
  let found = findSymbol(picture);
  if (!found || touchesBorder(found)) {
    const padded = padTight(picture);
    const again = padded && findSymbol(padded);
    if (again) [found, picture] = [again, padded];
  }
  if (!found) return { data: new Uint8Array(1), height: 1, width: 1 };
  let { ink } = found;
  if (found.factor > 1.3 && max(ink.height, ink.width) < NEAR) {
    const [top, left, bottom, right] = found.box.map((side) => round(side * found.factor));
    const margin = floor(max(bottom - top, right - left) / 2);
    const nearer = findSymbol(cut(picture, max(0, top - margin), max(0, left - margin), bottom + margin, right + margin));
    if (nearer) ink = nearer.ink;
  }
  const margin = 2 + floor(max(ink.height, ink.width) / 4);
  const { data, height, width } = pad(normalizeWidth(ink), margin, 0);
  return { data: Uint8Array.from(data, (value) => trunc(f32(value * 255))), height, width };
}

function padTight(gray) {
  const { data, height, width } = gray;
  const margin = floor(max(height, width) / 5);
  if ((height + 2 * margin) * (width + 2 * margin) > MAX_PADDED) return null;
  const border = [...data.subarray(0, width), ...data.subarray((height - 1) * width)];
  for (let y = 0; y < height; y++) border.push(data[y * width], data[(y + 1) * width - 1]);
  border.sort((a, b) => a - b);
  const half = border.length / 2;
  const tone = trunc((border[floor(half - 0.5)] + border[floor(half)]) / 2);
  const even = border.filter((value) => Math.abs(value - tone) < 20).length / border.length;
  return even < 0.4 ? null : pad(gray, margin, tone);
}

function findSymbol(gray) {
  const factor = max(1, max(gray.height, gray.width) / WORK);
  let image = gray;
  if (factor > 1) {
    image = resizeBox(gray, max(1, round(gray.height / factor)), max(1, round(gray.width / factor)));
  }
  const light = mean({ ...image, data: Float32Array.from(image.data) }, 3);
  const dark = isDarkOnLight(light);
  let found = findStrokes(light, factor, dark);
  if (!found || strokeWidth(found.ink) > BLOB * max(found.ink.height, found.ink.width)) {
    const other = findStrokes(light, factor, !dark);
    if (other && (!found || contains(other.box, found.box))) found = other;
  }
  return found;
}

function findStrokes(light, factor, dark) {
  let [narrow, wide] = [PEN, WIDEST].map((share) => inkOf(light, share, dark));
  const least = floorOf(narrow.data);
  for (const axis of [0, 1]) {
    const marked = masked(narrow, (value) => value > f32(least));
    const { lines, thickest } = levelLines(axis ? transposed(marked) : marked);
    if (lines) {
      const on = axis ? transposed(lines) : lines;
      [narrow, wide] = [narrow, wide].map((each) => removeLines(each, on, thickest, axis));
    }
  }
  let found = components(masked(narrow, (value) => value > f32(least)), narrow);
  let chosen = choose(found);
  const sample = chosen.size ? wide.data.filter((_, at) => chosen.has(found.labels[at])) : wide.data;
  const contrast = quantile(Float32Array.from(sample).sort(), chosen.size ? 0.8 : 0.995);
  const level = max(least, 0.2 * contrast);
  const ink = { ...narrow, data: narrow.data.map((value, at) => max(value, wide.data[at])) };
  let strong = masked(wide, (value) => value > f32(0.65 * contrast));
  const [ofNarrow, ofWide, count] = [sumWhere(narrow, strong), sumWhere(wide, strong), total(strong.data)];
  if (count && ofNarrow / count < (0.6 * ofWide) / count) {
    strong = masked(wide, (value) => value > f32(max(level, 0.4 * contrast)));
  }
  const marked = masked(narrow, (value, at) => value > f32(level) || (strong.data[at] && wide.data[at] > f32(least)));
  found = components(marked, ink);
  chosen = choose(found);
  if (!chosen.size) return null;
  return { ...cutOut(ink, found, chosen, level), shape: [light.height, light.width], factor };
}

// Whether strokes, the smaller part near the middle, are darker than the paper.
function isDarkOnLight(light) {
  const around = mean(light, round(min(light.height, light.width) * 0.3) | 1);
  const wave = (side) => Array.from({ length: side }, (_, at) => Math.sin((Math.PI * at) / max(1, side - 1)) ** 2);
  const [down, across] = [wave(light.height), wave(light.width)];
  let sum = 0;
  light.data.forEach((value, at) => {
    const rest = f32(value - around.data[at]);
    sum += f32(f32(rest * rest) * rest) * down[trunc(at / light.width)] * across[at % light.width];
  });
  return sum <= 0;
}

// The contrast to the paper around, 0…1, of strokes up to a width.
function inkOf(light, share, dark) {
  const window = max(5, round(min(light.height, light.width) * share)) | 1;
  const [first, then] = dark ? [max, min] : [min, max];
  const padded = running(running(pad(light, window), window, first), window, then);
  const paper = cut(padded, window, window, window + light.height, window + light.width).data;
  const contrast = dark
    ? (value, at) => 1 - f32(value / max(paper[at], 1))
    : (value, at) => f32(value - paper[at]) / 255;
  return { ...light, data: light.data.map(contrast) };
}

// The maximum ink of grain and noise.
function floorOf(data) {
  const sorted = data.slice().sort();
  const [less, usual, more, much] = [0.3, 0.5, 0.6, 0.8].map((share) => {
    const place = share * (sorted.length - 1);
    const low = trunc(place);
    const below = sorted[low];
    return below + (sorted[min(low + 1, sorted.length - 1)] - below) * (place - low);
  });
  return max(FAINTEST, usual + min(3.5 * (much - usual), 6 * (more - less)));
}

// Marks lines from side to side, up to 20 degrees off horizontal.
function levelLines(mask) {
  const { height, width } = mask;
  const thickest = max(4, round(0.025 * height));
  const half = { height: Math.ceil(height / 2), width: Math.ceil(width / 2) };
  half.data = new Uint8Array(half.height * half.width);
  mask.data.forEach((on, at) => {
    if (on) half.data[trunc(at / width / 2) * half.width + trunc((at % width) / 2)] = 1;
  });
  const angles = Array.from({ length: 54 }, (_, index) => -20 + 0.75 * index);
  let angle = bestAngle(half, angles, max(3, floor(thickest / 2) + 1));
  if (angle !== null) {
    const near = Array.from({ length: 7 }, (_, index) => angle - 0.75 + 0.25 * index);
    angle = bestAngle(mask, near, thickest);
  }
  if (angle === null) return { lines: null, thickest };
  const marked = new Uint8Array(height);
  for (const row of bands(shares(mask, angle), thickest)) {
    for (const by of [-1, 0, 1]) marked[min(max(row + by, 0), height - 1)] = 1;
  }
  const shift = shifts(width, angle);
  const lines = masked(mask, (_, at) => marked[trunc(at / width) - shift[at % width]]);
  return { lines, thickest };
}

// The angle in degrees at which most rows are lines; null if there are no lines.
function bestAngle(mask, angles, thickest) {
  let [best, found] = [0, null];
  for (const angle of angles) {
    const share = shares(mask, angle);
    if (!share.some((value) => value > 0.5)) continue;
    const score = bands(share, thickest).reduce((sum, row) => sum + f32(share[row] - f32(0.4)) ** 2, 0);
    if (score > best) [best, found] = [score, angle];
  }
  return found;
}

// The share of ink in each row after shearing the picture by an angle.
function shares({ data, height, width }, angle) {
  const shift = shifts(width, angle);
  const [ink, changes] = [new Float64Array(height), new Float64Array(height + 1)];
  for (let at = 0; at < data.length; at++) {
    if (!data[at]) continue;
    const row = trunc(at / width) - shift[at % width];
    if (row >= 0 && row < height) ink[row] += 1;
  }
  for (const by of shift) {
    changes[min(max(-by, 0), height)] += 1;
    changes[min(max(height - by, 0), height)] -= 1;
  }
  let covered = 0;
  return Float32Array.from(ink, (count, row) => {
    covered += changes[row];
    return count / max(covered, floor(width / 2));
  });
}

function shifts(width, angle) {
  const slope = Math.tan((angle * Math.PI) / 180);
  return Int32Array.from({ length: width }, (_, column) => round(slope * (column - width / 2)));
}

// Rows of lines: nearly all ink, or half if there are several parallel lines.
function bands(share, thickest) {
  const half = keepNarrow(share.map((value) => value > 0.5), thickest);
  let starts = 0;
  for (let row = 1; row < half.length; row++) starts += half[row] && !half[row - 1];
  const rows = starts >= 3 ? half : keepNarrow(share.map((value) => value > f32(0.85)), thickest);
  return [...rows.keys()].filter((row) => rows[row]);
}

// Keeps runs up to a length.
function keepNarrow(marked, thickest) {
  const kept = new Uint8Array(marked.length);
  for (let start = 0; start < marked.length; start++) {
    if (!marked[start]) continue;
    let end = start;
    while (end < marked.length && marked[end]) end++;
    if (end - start <= thickest) kept.fill(1, start, end);
    start = end;
  }
  return kept;
}

// Removes lines, but keeps the strokes that cross them.
function removeLines(ink, lines, thickest, axis) {
  const size = (thickest + 3) | 1;
  const crossing = running(running(ink, size, min, [axis]), size, max, [axis]).data;
  return { ...ink, data: ink.data.map((value, at) => (lines.data[at] ? min(crossing[at], value) : value)) };
}

// The 8-connected components: labels (-1 outside the mask), and a list with the mass of ink, the
// area, the box, the contact with the border, and the size of each.
function components(mask, ink) {
  const { data, height, width } = mask;
  const labels = new Int32Array(data.length).fill(-1);
  const list = [];
  const stack = [];
  for (let start = 0; start < data.length; start++) {
    if (!data[start] || labels[start] >= 0) continue;
    const each = { mass: 0, area: 0, box: [height, width, 0, 0], contact: 0 };
    labels[start] = list.length;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const row = trunc(at / width);
      const column = at % width;
      const { box } = each;
      each.mass += ink.data[at];
      each.area += 1;
      if (row < box[0]) box[0] = row;
      if (column < box[1]) box[1] = column;
      if (row >= box[2]) box[2] = row + 1;
      if (column >= box[3]) box[3] = column + 1;
      each.contact += (row === 0 || row === height - 1) + (column === 0) + (column === width - 1);
      for (let y = max(0, row - 1); y <= min(height - 1, row + 1); y++) {
        for (let x = max(0, column - 1); x <= min(width - 1, column + 1); x++) {
          const next = y * width + x;
          if (data[next] && labels[next] < 0) {
            labels[next] = list.length;
            stack.push(next);
          }
        }
      }
    }
    const [top, left, bottom, right] = each.box;
    each.size = max(bottom - top, right - left);
    each.contrast = each.mass / each.area;
    list.push(each);
  }
  return { labels, list, height, width };
}

// The indices of the components of the symbol; none if nothing resembles one.
function choose({ list, height, width }) {
  const shorter = min(height, width);
  for (const each of list) {
    each.able = each.size >= max(6, SMALLEST * shorter) && each.contact <= 0.45 * shorter;
  }
  const places = list.filter((each) => each.able);
  const frames = places.filter((outer) => surroundsOthers(outer, places));
  for (const each of frames) each.able = false;
  let [main, highest] = [null, -1];
  for (const each of list) {
    if (!each.able) continue;
    const [top, left, bottom, right] = each.box;
    const away = max(Math.abs((top + bottom) / 2 / height - 0.5), Math.abs((left + right) / 2 / width - 0.5));
    const value = each.mass * (1.2 - away) * (each.contact > 0 ? 0.2 : 1);
    if (value > highest) [main, highest] = [each, value];
  }
  if (!main) return new Set();
  const members = group(list, main);
  // Keep all of several symbols, so that the model sees that there is more than one.
  for (const each of list) {
    if (each.able && !each.contact && each.size > 0.6 * main.size && each.contrast > 0.7 * main.contrast) {
      members.add(each);
    }
  }
  return new Set([...list.keys()].filter((index) => members.has(list[index])));
}

// Whether it is a frame: another component of some size is well inside.
function surroundsOthers(outer, places) {
  const [top, left, bottom, right] = outer.box;
  const [down, across] = [0.05 * (bottom - top), 0.05 * (right - left)];
  return places.some(({ box, size }) =>
    box[0] >= top + down && box[1] >= left + across && box[2] <= bottom - down && box[3] <= right - across &&
    size > 0.3 * outer.size);
}

// The main component and the pieces of a broken stroke near it.
function group(list, main) {
  const near = 0.12 * main.size;
  const alike = list.filter((each) => each.size >= near && each.contrast > 0.7 * main.contrast &&
    !each.contact && (each.able || each.size < 0.5 * main.size));
  const members = new Set([main]);
  let box = main.box;
  for (let round = 0; round < 3; round++) {
    for (const each of alike) {
      if (each.box[0] < box[2] + near && each.box[1] < box[3] + near &&
          each.box[2] > box[0] - near && each.box[3] > box[1] - near) members.add(each);
    }
    box = boxAround([...members]);
  }
  return members;
}

function boxAround(list) {
  const side = (index, pick) => pick(...list.map(({ box }) => box[index]));
  return [side(0, min), side(1, min), side(2, max), side(3, max)];
}

// The ink of the chosen components, in 0…1, and their box.
function cutOut(ink, found, chosen, level) {
  const box = boxAround(found.list.filter((_, index) => chosen.has(index)));
  const own = { ...ink, data: ink.data.map((value, at) => (chosen.has(found.labels[at]) ? value : 0)) };
  const part = cut(own, ...box);
  // Reflections reduce the contrast of ink.
  const near = max(5, round(0.14 * max(part.height, part.width))) | 1;
  const full = running(part, near, max).data;
  const soften = (value, at) => {
    const share = f32(f32(value / max(full[at], f32(level))) - f32(0.2));
    return min(1, max(0, f32(share / f32(0.5))));
  };
  return { ink: { ...part, data: part.data.map(soften) }, box };
}

// Makes strokes as wide as a pen's on a digit of this size.
function normalizeWidth(ink) {
  const [size, width] = [max(ink.height, ink.width), strokeWidth(ink)];
  if (width < THIN * size) {
    const by = round((THIN * size - width) / 2);
    return running(pad(ink, by, 0), 2 * by + 1, max);
  }
  return width > THICK * size ? running(ink, 2 * round((width - THICK * size) / 2) + 1, min) : ink;
}

// The average width in pixels: the outline of a stroke is twice its length.
function strokeWidth({ data, height, width }) {
  const on = (y, x) => y >= 0 && y < height && x >= 0 && x < width && data[y * width + x] > 0.5;
  let [area, inner] = [0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!on(y, x)) continue;
      area++;
      inner += on(y - 1, x) && on(y + 1, x) && on(y, x - 1) && on(y, x + 1);
    }
  }
  return (2 * area) / max(area - inner, 1);
}

function touchesBorder({ box: [top, left, bottom, right], shape: [height, width] }) {
  return !(top && left && bottom < height && right < width);
}

function contains(outer, inner) {
  return outer[0] < inner[0] && outer[1] < inner[1] && outer[2] > inner[2] && outer[3] > inner[3];
}

// The minimum or maximum of an odd window around each value; the border is repeated.
function running(image, window, pick, axes = [0, 1]) {
  if (window === 1) return image;
  const largest = pick === max;
  const { height, width } = image;
  const data = image.data.slice();
  const half = floor(window / 2);
  for (const axis of axes) {
    const [lines, count, next, step] = axis ? [height, width, width, 1] : [width, height, 1, width];
    const line = new Float32Array(count + window - 1);
    for (let index = 0; index < lines; index++) {
      const start = index * next;
      for (let at = 0; at < line.length; at++) {
        line[at] = data[start + step * min(max(at - half, 0), count - 1)];
      }
      let [covered, length] = [1, line.length];
      while (2 * covered <= window) {
        length -= covered;
        for (let at = 0; at < length; at++) {
          const here = line[at];
          const there = line[at + covered];
          line[at] = here > there === largest ? here : there;
        }
        covered *= 2;
      }
      for (let at = 0; at < count; at++) {
        const here = line[at];
        const there = line[at + window - covered];
        data[start + step * at] = here > there === largest ? here : there;
      }
    }
  }
  return { data, height, width };
}

// The mean of an odd window around each value; the border is repeated.
function mean(image, window) {
  const { height, width } = image;
  const data = image.data.slice();
  const half = floor(window / 2);
  for (const axis of [0, 1]) {
    const [lines, count, next, step] = axis ? [height, width, width, 1] : [width, height, 1, width];
    const sums = new Float64Array(count + window);
    for (let index = 0; index < lines; index++) {
      const start = index * next;
      let sum = 0;
      for (let at = 0; at < sums.length; at++) {
        sum += data[start + step * min(max(at - half - 1, 0), count - 1)];
        sums[at] = sum;
      }
      for (let at = 0; at < count; at++) data[start + step * at] = (sums[at + window] - sums[at]) / window;
    }
  }
  return { data, height, width };
}

// Adds a margin; without `fill`, the border is repeated.
function pad({ data, height, width }, margin, fill = null) {
  const padded = { height: height + 2 * margin, width: width + 2 * margin };
  padded.data = new data.constructor(padded.height * padded.width);
  if (fill) padded.data.fill(fill);
  for (let y = fill === null ? -margin : 0; y < (fill === null ? height + margin : height); y++) {
    const from = min(max(y, 0), height - 1) * width;
    const at = (y + margin) * padded.width + margin;
    padded.data.set(data.subarray(from, from + width), at);
    if (fill !== null) continue;
    padded.data.fill(data[from], at - margin, at);
    padded.data.fill(data[from + width - 1], at + width, at + width + margin);
  }
  return padded;
}

function cut({ data, height, width }, top, left, bottom, right) {
  const part = { height: min(bottom, height) - top, width: min(right, width) - left };
  part.data = new data.constructor(part.height * part.width);
  for (let y = 0; y < part.height; y++) {
    const at = (top + y) * width + left;
    part.data.set(data.subarray(at, at + part.width), y * part.width);
  }
  return part;
}

function transposed({ data, height, width }) {
  const turned = new Uint8Array(data.length);
  data.forEach((value, at) => {
    turned[(at % width) * height + trunc(at / width)] = value;
  });
  return { data: turned, height: width, width: height };
}

function masked({ data, height, width }, test) {
  const mask = new Uint8Array(data.length);
  for (let at = 0; at < data.length; at++) mask[at] = test(data[at], at) ? 1 : 0;
  return { data: mask, height, width };
}

function sumWhere(image, mask) {
  return image.data.reduce((sum, value, at) => sum + (mask.data[at] ? value : 0), 0);
}

function total(data) {
  return data.reduce((sum, value) => sum + value, 0);
}

// As NumPy does for one quantile of float32 values.
function quantile(sorted, share) {
  const place = f32(f32(share) * f32(sorted.length - 1));
  const low = floor(place);
  const [below, above] = [sorted[low], sorted[min(low + 1, sorted.length - 1)]];
  const part = f32(place - low);
  const step = f32(above - below);
  return part >= 0.5 ? f32(above - f32(step * f32(1 - part))) : f32(below + f32(step * part));
}
