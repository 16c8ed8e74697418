// A model that runs in this page: LiteRT for browsers with the edge.tflite of a version, which
// carries its contract.

import { fromRgba, preprocess, unknownSteps } from "./preprocessing.js";

// The module and its loader, which starts the WebAssembly file.
const [MODULE, LOADER] = ["litert.js", "litert_wasm_compat_internal.js"];

let runtime = null; // the promise of LiteRT

// Loads LiteRT once; `urls` has the URL of its module and of its loader. A failed load is tried
// again the next time.
export function startLiteRT(urls) {
  runtime ??= (async () => {
    const litert = await import(urls.module);
    await litert.loadLiteRt(urls.loader);
    return litert;
  })().catch((error) => {
    runtime = null;
    throw error;
  });
  return runtime;
}

export class BrowserModel {
  // `litert` is what startLiteRT returned, `file` the bytes of an edge.tflite.
  static async load(litert, file) {
    const contract = contractOf(file);
    const { input, task, model } = contract;
    if (input.kind !== "image" || task !== "classification") {
      throw new Error(`${model} runs on the server only: in a browser run classifiers of images.`);
    }
    const unknown = unknownSteps(input.preprocessing);
    if (unknown.length) throw new Error(`This page does not know the preprocessing step ${unknown[0]} of ${model}.`);
    return new BrowserModel(litert, contract, await litert.loadAndCompile(file, { accelerator: "wasm" }));
  }

  constructor(litert, contract, compiled) {
    this.litert = litert;
    this.contract = contract;
    this.compiled = compiled;
  }

  // Predicts an ImageData: the prediction as the service returns it, the tensor that the model got
  // ({ data, height, width, channels }), and the duration in milliseconds.
  async predict(pixels, top = 3) {
    const started = performance.now();
    const { input, labels, threshold } = this.contract;
    const tensor = preprocess(fromRgba(pixels), input.preprocessing);
    const given = this.litert.Tensor.fromTypedArray(tensor.data, [1, ...input.shape]);
    let results = [];
    try {
      results = await this.compiled.run([given]);
      const scores = [...(await results[0].data())];
      const prediction = labeled(scores, labels, top, threshold);
      return { prediction, tensor, version: this.contract.version, milliseconds: performance.now() - started };
    } finally {
      for (const each of [given, ...results]) each.delete();
    }
  }
}

const models = new Map(); // promises by URL

// For pages of the service: predicts an image, a Blob or a canvas, in this browser, with the version
// that the service used. `root` is the URL of the service, `litert` that of LiteRT's files.
export async function predictInBrowser({ root, litert, model, version, image, top }) {
  const url = new URL(`edge/${encodeURIComponent(model)}?version=${version}`, root).href;
  if (!models.has(url)) {
    const loaded = Promise.all([
      startLiteRT({ module: new URL(MODULE, litert).href, loader: new URL(LOADER, litert).href }),
      fetchBytes(url),
    ]).then(([runtime, file]) => BrowserModel.load(runtime, file));
    loaded.catch(() => models.delete(url));
    models.set(url, loaded);
  }
  return (await models.get(url)).predict(await pixelsOf(image), top);
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) {
    const { detail } = await response.json().catch(() => ({}));
    throw new Error(detail ?? `The service returned ${response.status} ${response.statusText}.`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

// The pixels of a Blob with an image, or of a canvas, as an ImageData.
export async function pixelsOf(image) {
  if (image instanceof HTMLCanvasElement) {
    return image.getContext("2d").getImageData(0, 0, image.width, image.height);
  }
  // Pixel values as they are in the file, as the service reads them.
  const bitmap = await createImageBitmap(image, { colorSpaceConversion: "none" });
  const sheet = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  sheet.drawImage(bitmap, 0, 0);
  bitmap.close();
  return sheet.getImageData(0, 0, sheet.canvas.width, sheet.canvas.height);
}

// The most likely labels, and the best one unless it is below the threshold.
function labeled(scores, labels, top, threshold) {
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
  const best = order.slice(0, top).map((index) => ({ label: labels[index], score: scores[index] }));
  const [{ label, score }] = best;
  if (threshold === null || threshold === undefined || score >= threshold) return { label, score, top: best };
  const reason = `not sure: ${label} is most likely with ${Number(score.toPrecision(4))}, but the threshold is ${threshold}`;
  return { label: null, score, top: best, reason };
}

// The contract of an edge.tflite: contract.json in the ZIP archive at its end, not compressed.
export function contractOf(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let end = file.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("This file has no contract: it is not an edge.tflite of RockstarTF.");
  const [size, count] = [view.getUint32(end + 12, true), view.getUint16(end + 10, true)];
  const start = end - size - view.getUint32(end + 16, true); // of the archive
  const text = (at, length) => new TextDecoder().decode(file.subarray(at, at + length));
  let at = end - size;
  for (let entry = 0; entry < count; entry++) {
    const [name, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    if (text(at + 46, name) === "contract.json") {
      const local = start + view.getUint32(at + 42, true);
      const content = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      return JSON.parse(text(content, view.getUint32(at + 20, true)));
    }
    at += 46 + name + extra + comment;
  }
  throw new Error("This file has no contract.json.");
}
