// Pillow's resampling filters, with the same rounding. An image is { data, height, width }: one
// channel, row by row, a Float32Array or a Uint8Array.

const BOX = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
const BICUBIC = {
  support: 2,
  weight(x) {
    const a = -0.5;
    const by = Math.abs(x);
    if (by < 1) return ((a + 2) * by - (a + 3)) * by * by + 1;
    return by < 2 ? (((by - 5) * by + 8) * by - 4) * a : 0;
  },
};
const PRECISION = 2 ** 22; // of the weights for 8-bit pixels

// Rounds half to even, as Python and NumPy do.
export function round(x) {
  const low = Math.floor(x);
  const part = x - low;
  if (part !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

export function resizeBicubic(image, height, width) {
  return resize(image, height, width, BICUBIC);
}

// Averages areas; an 8-bit image that is much larger is reduced by a whole factor first, as with
// Pillow's reducing_gap=2.
export function resizeBox(image, height, width) {
  const [down, across] = [image.height / height, image.width / width];
  const [rows, columns] = [Math.floor(down / 2) || 1, Math.floor(across / 2) || 1];
  if (rows === 1 && columns === 1) return resize(image, height, width, BOX);
  return resize(reduce(image, rows, columns), height, width, BOX, image.height / rows, image.width / columns);
}

// The mean of each cell of rows × columns pixels; cells at the end may be smaller.
export function reduce({ data, height, width }, rows, columns) {
  const [down, across] = [Math.ceil(height / rows), Math.ceil(width / columns)];
  const reduced = new Uint8Array(down * across);
  for (let y = 0; y < down; y++) {
    const bottom = Math.min(height, (y + 1) * rows);
    for (let x = 0; x < across; x++) {
      const right = Math.min(width, (x + 1) * columns);
      let sum = 0;
      for (let row = y * rows; row < bottom; row++) {
        for (let column = x * columns; column < right; column++) sum += data[row * width + column];
      }
      const count = (bottom - y * rows) * (right - x * columns);
      reduced[y * across + x] = Math.floor((sum + count / 2) / count);
    }
  }
  return { data: reduced, height: down, width: across };
}

// `rows` and `columns` of the image are used, which may be fractions.
function resize(image, height, width, filter, rows = image.height, columns = image.width) {
  let resized = image;
  if (width !== image.width || columns !== image.width) {
    resized = resizeAxis(resized, weightsOf(resized.width, columns, width, filter), "width");
  }
  if (height !== image.height || rows !== image.height) {
    resized = resizeAxis(resized, weightsOf(resized.height, rows, height, filter), "height");
  }
  return resized;
}

// For each new pixel the first old one, and the weights from there on.
function weightsOf(available, used, size, filter) {
  const scale = used / size;
  const stretch = Math.max(1, scale);
  const support = filter.support * stretch;
  return Array.from({ length: size }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(available, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let at = first; at < end; at++) weights.push(filter.weight((at - center + 0.5) * (1 / stretch)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => (sum ? weight / sum : weight)) };
  });
}

function resizeAxis({ data, height, width }, places, axis) {
  const isByte = data instanceof Uint8Array;
  if (isByte) {
    for (const place of places) {
      place.weights = place.weights.map((weight) => Math.trunc(weight * PRECISION + (weight < 0 ? -0.5 : 0.5)));
    }
  }
  const along = axis === "width";
  const [rows, columns] = along ? [height, places.length] : [places.length, width];
  const resized = isByte ? new Uint8Array(rows * columns) : new Float32Array(rows * columns);
  const stride = along ? 1 : width;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const { first, weights } = places[along ? column : row];
      let at = along ? row * width + first : first * width + column;
      let sum = isByte ? PRECISION / 2 : 0;
      for (const weight of weights) {
        sum += data[at] * weight;
        at += stride;
      }
      if (isByte) sum = Math.min(255, Math.max(0, Math.floor(sum / PRECISION)));
      resized[row * columns + column] = sum;
    }
  }
  return { data: resized, height: rows, width: columns };
}
