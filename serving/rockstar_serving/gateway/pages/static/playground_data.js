// Data sets of the playground: points of two classes in a plane, and small digits.

import { shuffled } from "./neural_network.js";
import { SAMPLES } from "./samples.js";

export const RANGE = 6; // points lie in -6…6
export const DIGIT_SIDE = 12; // pixels of a digit
const POINTS = 500;
const DIGITS = 800;

// Inputs that a network may get of a point.
export const FEATURES = {
  x: (x) => x,
  y: (x, y) => y,
  "x²": (x) => (x * x) / RANGE,
  "y²": (x, y) => (y * y) / RANGE,
  xy: (x, y) => (x * y) / RANGE,
  "sin x": (x) => RANGE * Math.sin(x) / 2,
  "sin y": (x, y) => RANGE * Math.sin(y) / 2,
};

// Each returns a point and its class, 0 or 1; `noise` is from 0 to 0.5.
const SHAPES = {
  circle(random, noise) {
    const label = Number(random() < 0.5);
    const radius = label ? 2.5 * Math.sqrt(random()) : 3.5 + 1.5 * random();
    const angle = 2 * Math.PI * random();
    return { ...shaken(radius * Math.sin(angle), radius * Math.cos(angle), random, 4 * noise), label };
  },
  xor(random, noise) {
    const side = () => (0.4 + 4.6 * random()) * (random() < 0.5 ? -1 : 1);
    const [x, y] = [side(), side()];
    return { ...shaken(x, y, random, 4 * noise), label: Number(x * y >= 0) };
  },
  gaussians(random, noise) {
    const label = Number(random() < 0.5);
    const middle = label ? 2 : -2;
    const spread = 0.7 + 3 * noise;
    return { x: middle + spread * normal(random), y: middle + spread * normal(random), label };
  },
  spiral(random, noise) {
    const label = Number(random() < 0.5);
    const along = random();
    const angle = 1.75 * 2 * Math.PI * along + (label ? 0 : Math.PI);
    const radius = 0.3 + 4.7 * along;
    return { ...shaken(radius * Math.sin(angle), radius * Math.cos(angle), random, 4 * noise), label };
  },
};
export const DATA_SETS = [...Object.keys(SHAPES), "digits"];

// Examples to train and to test on: each has `inputs` [n, width] and `labels`; points also have
// `points` to draw, and digits `images` [n, side · side].
export function makeData(name, { noise, trainShare, features }, random) {
  const count = name === "digits" ? DIGITS : POINTS;
  const examples = Array.from({ length: count }, (_, index) => {
    if (name !== "digits") return SHAPES[name](random, noise);
    const label = index % 10;
    return { label, image: drawDigit(SAMPLES[label], random, noise) };
  });
  const order = [...shuffled(count, random)].map((index) => examples[index]);
  const end = Math.round(trainShare * count);
  return { train: batch(order.slice(0, end), features), test: batch(order.slice(end), features) };
}

function batch(examples, features) {
  const rows = examples.map(({ image, x, y }) => image ?? features.map((name) => FEATURES[name](x, y)));
  const inputs = new Float64Array(rows.length * (rows[0]?.length ?? 0));
  rows.forEach((row, index) => inputs.set(row, index * row.length));
  return { inputs, labels: examples.map(({ label }) => label), examples };
}

// The inputs of a grid of points, row by row from the top.
export function gridInputs(side, features) {
  const inputs = new Float64Array(side * side * features.length);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const [x, y] = [((2 * column + 1) / side - 1) * RANGE, (1 - (2 * row + 1) / side) * RANGE];
      inputs.set(features.map((name) => FEATURES[name](x, y)), (row * side + column) * features.length);
    }
  }
  return inputs;
}

// A digit of pen strokes, in a square of side 100, with a random size, angle, place and pen, as
// pixels from 0 to 1.
export function drawDigit(strokes, random, noise = 0) {
  const angle = 0.35 * (random() - 0.5);
  const [wide, high] = [0.75 + 0.4 * random(), 0.8 + 0.3 * random()];
  const [right, down] = [10 * (random() - 0.5), 10 * (random() - 0.5)];
  const slant = 0.4 * (random() - 0.5);
  const moved = strokes.map((stroke) => stroke.map(([x, y]) => {
    const [u, v] = [(x - 50) * wide - slant * (y - 50), (y - 50) * high];
    const jitter = () => 4 * (random() - 0.5);
    return [
      50 + u * Math.cos(angle) - v * Math.sin(angle) + right + jitter(),
      50 + u * Math.sin(angle) + v * Math.cos(angle) + down + jitter(),
    ];
  }));
  const image = rasterize(moved, 5 + 3 * random());
  return noise ? image.map((value) => Math.min(1, Math.max(0, value + noise * normal(random)))) : image;
}

// The pixels of strokes in a square of side 100, from 0 to 1; `pen` is half the width of a stroke.
export function rasterize(strokes, pen) {
  const cell = 100 / DIGIT_SIDE;
  return Float64Array.from({ length: DIGIT_SIDE ** 2 }, (_, at) => {
    const [x, y] = [(at % DIGIT_SIDE + 0.5) * cell, (Math.floor(at / DIGIT_SIDE) + 0.5) * cell];
    let nearest = Infinity;
    for (const stroke of strokes) {
      stroke.forEach((point, index) => {
        nearest = Math.min(nearest, distance(x, y, stroke[Math.max(0, index - 1)], point));
      });
    }
    return Math.min(1, Math.max(0, (pen - nearest) / cell + 0.5));
  });
}

// From a point to a line segment.
function distance(x, y, [x1, y1], [x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / length)) : 0;
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}

function shaken(x, y, random, by) {
  return { x: x + by * (random() - 0.5), y: y + by * (random() - 0.5) };
}

function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
