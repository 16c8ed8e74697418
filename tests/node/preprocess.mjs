// Preprocesses images as pages do: the folder of the scripts as the argument, a JSON list of images
// { data, height, width, channels, steps } on stdin, the tensors on stdout. Pixels are base64.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { preprocess } = await import(new URL("preprocessing.js", `${pathToFileURL(process.argv[2])}/`));

const tensors = JSON.parse(readFileSync(0)).map(({ data, steps, ...image }) => {
  const tensor = preprocess({ ...image, data: Uint8Array.from(Buffer.from(data, "base64")) }, steps);
  const bytes = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  return { ...tensor, data: bytes.toString("base64") };
});
console.log(JSON.stringify(tensors));
