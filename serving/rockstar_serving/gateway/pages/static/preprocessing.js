// The preprocessing steps of contracts, from pixels to the tensor that a model takes: the same
// results as contract/rockstar_contract/preprocessing.py, which describes them. An image is
// { data, height, width, channels }: a Uint8Array, or after "scale" a Float32Array.

import { reduce, resizeBicubic, round } from "./resampling.js";
import { isolateStrokes } from "./strokes.js";

const EVEN = 0.2; // maximum standard deviation of an even frame
const FRAMED = 12; // minimum side of an image that may have a frame
const WORKING_PIXELS = 4 * 2 ** 20; // larger images are halved until they fit
const f32 = Math.fround;

const STEPS = {
  grey(image) {
    if (image.channels === 1) return image;
    const grey = new Uint8Array(image.height * image.width);
    for (let at = 0; at < grey.length; at++) grey[at] = luma(image.data, 3 * at);
    return { ...image, data: grey, channels: 1 };
  },

  colour(image) {
    if (image.channels === 3) return image;
    const data = new image.data.constructor(3 * image.data.length);
    image.data.forEach((value, at) => data.fill(value, 3 * at, 3 * at + 3));
    return { ...image, data, channels: 3 };
  },

  isolate_strokes(image, { small }) {
    if (image.height <= small && image.width <= small) return image;
    return { ...isolateStrokes(image), channels: 1 };
  },

  scale(image, { maximum = 255 }) {
    return mapped(image, (value) => value / f32(maximum));
  },

  stretch_contrast(image) {
    const { low, high } = limits(image.data);
    if (high === low || (low === 0 && high === 1)) return image;
    const width = f32(high - low);
    return mapped(image, (value) => f32(value - low) / width);
  },

  trim_frame(image, { share }) {
    const shorter = Math.min(image.height, image.width);
    const border = borderOf(image);
    const light = isLight(border);
    if (light === isLight(image.data) || deviation(border) > EVEN || shorter < FRAMED) return image;
    for (let depth = 1; depth <= round(share * shorter); depth++) {
      const inner = borderOf(cropped(image, depth, depth, image.height - depth, image.width - depth));
      if (isLight(inner) !== light && deviation(inner) < EVEN) {
        // One pixel more, because the edge of the frame may be blurred.
        const by = depth + 1;
        return cropped(image, by, by, image.height - by, image.width - by);
      }
    }
    return image;
  },

  invert_if_light(image) {
    return quantile(borderOf(image), 0.5) > 0.5 ? mapped(image, (value) => 1 - value) : image;
  },

  suppress_background(image, { level }) {
    const floor = f32(level);
    const width = f32(1 - floor);
    return mapped(image, (value) => Math.max(f32(value - floor), 0) / width);
  },

  suppress_border(image, { quantile: share, factor, limit }) {
    const found = factor * quantile(borderOf(image), share);
    return found ? STEPS.suppress_background(image, { level: Math.min(found, limit) }) : image;
  },

  crop_to_content(image, { threshold }) {
    let [top, left, bottom, right] = [image.height, image.width, 0, 0];
    const above = f32(threshold);
    image.data.forEach((value, at) => {
      if (!(value > above)) return;
      const cell = Math.trunc(at / image.channels);
      const [row, column] = [Math.trunc(cell / image.width), cell % image.width];
      top = Math.min(top, row);
      bottom = Math.max(bottom, row + 1);
      left = Math.min(left, column);
      right = Math.max(right, column + 1);
    });
    return bottom ? cropped(image, top, left, bottom, right) : image;
  },

  fit(image, { height, width }) {
    const factor = Math.min(height / image.height, width / image.width);
    const sides = [image.height, image.width].map((side) => Math.max(1, round(side * factor)));
    return resized(image, Math.min(sides[0], height), Math.min(sides[1], width));
  },

  resize(image, { height, width }) {
    return resized(image, height, width);
  },

  centre(image, { height, width }) {
    return placed(image, height, width, (height - 1) / 2, (width - 1) / 2);
  },

  centre_on_cell(image, { height, width }) {
    return placed(image, height, width, Math.floor(height / 2), Math.floor(width / 2));
  },
};

// The steps of a contract that this page does not know, by name.
export function unknownSteps(steps) {
  return steps.map(({ step }) => step).filter((step) => !Object.hasOwn(STEPS, step));
}

// The tensor of an image, as an image of floats; `steps` as in a contract.
export function preprocess(image, steps) {
  return steps.reduce((changed, { step, ...parameters }) => STEPS[step](changed, parameters), image);
}

// The pixels of a canvas as the service decodes a file of them: one channel if they are gray,
// transparent ones on white, or on black if their ink is light.
export function fromRgba({ data, width, height }) {
  const opaque = onGround(data);
  let image = { data: opaque, height, width, channels: 3 };
  let gray = true;
  for (let at = 0; at < opaque.length && gray; at += 3) {
    gray = opaque[at] === opaque[at + 1] && opaque[at] === opaque[at + 2];
  }
  if (gray) image = STEPS.grey(image);
  let factor = 1;
  while (Math.ceil(width / factor) * Math.ceil(height / factor) > WORKING_PIXELS) factor *= 2;
  return factor === 1 ? image : perChannel(image, (plane) => reduce(plane, factor, factor));
}

function onGround(rgba) {
  const count = rgba.length / 4;
  let [lowest, highest] = [255, 0];
  for (let at = 3; at < rgba.length; at += 4) {
    lowest = Math.min(lowest, rgba[at]);
    highest = Math.max(highest, rgba[at]);
  }
  // A canvas has no colors where it is transparent.
  if (highest === 0) throw new Error("the image is fully transparent, and a browser does not read its colors");
  const on = (ground) => {
    const rgb = new Uint8Array(3 * count);
    for (let at = 0; at < count; at++) {
      const alpha = rgba[4 * at + 3] / 255;
      for (let c = 0; c < 3; c++) rgb[3 * at + c] = Math.round(rgba[4 * at + c] * alpha + ground * (1 - alpha));
    }
    return rgb;
  };
  const white = on(255);
  if (lowest === 255) return white;
  let [darkest, dark, seen, opacity, ink] = [255, 0, 0, 0, 0];
  for (let at = 0; at < count; at++) {
    const value = luma(white, 3 * at);
    darkest = Math.min(darkest, value);
    seen += value;
    opacity += rgba[4 * at + 3];
    if (rgba[4 * at + 3] >= 128) ink++;
    if (value < 128) dark++;
  }
  if (darkest > 239) return on(0); // invisible on white
  // The brightness of the ink, without the white that shows through.
  const brightness = 255 * (1 - (255 * count - seen) / opacity);
  // A few dark pixels may be fringes of smoothed edges; a white card with writing on it has more.
  return ink < 0.5 * count && brightness > 191 && dark <= 0.02 * ink ? on(0) : white;
}

// ITU-R BT.601, rounded as Pillow does.
function luma(rgb, at) {
  return (rgb[at] * 19595 + rgb[at + 1] * 38470 + rgb[at + 2] * 7471 + 0x8000) >> 16;
}

function mapped(image, change) {
  const data = new Float32Array(image.data.length);
  for (let at = 0; at < data.length; at++) data[at] = change(image.data[at]);
  return { ...image, data };
}

function limits(data) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of data) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return { low, high };
}

// The values along the four sides, sorted.
function borderOf({ data, height, width, channels }) {
  const row = width * channels;
  const border = new Float32Array(2 * row + 2 * height * channels);
  border.set(data.subarray(0, row));
  border.set(data.subarray((height - 1) * row), row);
  for (let y = 0; y < height; y++) {
    const at = 2 * row + 2 * y * channels;
    border.set(data.subarray(y * row, y * row + channels), at);
    border.set(data.subarray((y + 1) * row - channels, (y + 1) * row), at + channels);
  }
  return border.sort();
}

function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const low = Math.trunc(place);
  const [below, above] = [sorted[low], sorted[Math.min(low + 1, sorted.length - 1)]];
  const part = place - low;
  const step = f32(above - below);
  return part >= 0.5 ? f32(above - f32(step * f32(1 - part))) : f32(below + f32(step * f32(part)));
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function isLight(values) {
  return mean(values) > 0.5;
}

function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}

function cropped({ data, width, channels }, top, left, bottom, right) {
  const row = (right - left) * channels;
  const part = new data.constructor((bottom - top) * row);
  for (let y = top; y < bottom; y++) {
    const at = (y * width + left) * channels;
    part.set(data.subarray(at, at + row), (y - top) * row);
  }
  return { data: part, height: bottom - top, width: right - left, channels };
}

function perChannel({ data, height, width, channels }, change) {
  if (channels === 1) return { ...change({ data, height, width }), channels };
  let whole = null;
  for (let channel = 0; channel < channels; channel++) {
    const plane = { data: data.filter((_, at) => at % channels === channel), height, width };
    const changed = change(plane);
    whole ??= { ...changed, data: new changed.data.constructor(changed.data.length * channels), channels };
    changed.data.forEach((value, at) => {
      whole.data[at * channels + channel] = value;
    });
  }
  return whole;
}

function resized(image, height, width) {
  if (image.height === height && image.width === width) return image;
  const changed = perChannel(image, (plane) => resizeBicubic(plane, height, width));
  return mapped(changed, (value) => Math.min(1, Math.max(0, value)));
}

// On a dark canvas, center of mass as close to the middle as fits.
function placed(image, height, width, row, column) {
  const { data, channels } = image;
  const [rows, columns] = [new Float64Array(image.height), new Float64Array(image.width)];
  data.forEach((value, at) => {
    const cell = Math.trunc(at / channels);
    rows[Math.trunc(cell / image.width)] += value;
    columns[cell % image.width] += value;
  });
  const [top, left] = [offset(rows, height, row), offset(columns, width, column)];
  const canvas = new Float32Array(height * width * channels);
  for (let y = 0; y < image.height; y++) {
    const line = data.subarray(y * image.width * channels, (y + 1) * image.width * channels);
    canvas.set(line, ((top + y) * width + left) * channels);
  }
  return { data: canvas, height, width, channels };
}

// The start of a profile of mass on an axis of `size` that puts its center at `middle`.
function offset(mass, size, middle) {
  const room = size - mass.length;
  if (room < 0) throw new Error(`content of ${mass.length} cells does not fit a canvas of ${size}`);
  let [total, moment] = [0, 0];
  mass.forEach((value, at) => {
    total += value;
    moment += value * at;
  });
  const center = total > 0 ? moment / total : (mass.length - 1) / 2;
  return Math.min(Math.max(round(middle - center), 0), room);
}
