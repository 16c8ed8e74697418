// Trains networks as the playground does: the folder of the scripts as the argument, JSON on stdin:
// { sizes, activation, options, inputs, labels, steps }; on stdout the parameters before and after,
// the gradients at the start, and the loss.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { Network, randomNumbers } = await import(new URL("neural_network.js", `${pathToFileURL(process.argv[2])}/`));

const plain = (arrays) => arrays.map((array) => [...array]);
console.log(JSON.stringify(JSON.parse(readFileSync(0)).map(({ sizes, activation, options, inputs, labels, steps }) => {
  const network = new Network(sizes, activation, randomNumbers(3));
  // Slopes that are 0 hide errors.
  for (const { slopes } of network.layers) slopes.fill(0.2);
  const before = plain(network.parameters);
  const examples = Float64Array.from(inputs);
  const gradients = plain(network.gradients(examples, labels, options));
  const numeric = network.parameters.map((values) => Array.from(values, (value, at) => {
    const loss = (changed) => {
      values[at] = changed;
      const penalty = network.layers.reduce((sum, { weights }) => sum + weights.reduce((total, weight) => total +
        (options.regularization === "L1" ? Math.abs(weight) : options.regularization === "L2" ? weight ** 2 / 2 : 0), 0), 0);
      return network.evaluate(examples, labels).loss + (options.rate ?? 0) * penalty;
    };
    const slope = (loss(value + 1e-5) - loss(value - 1e-5)) / 2e-5;
    values[at] = value;
    return slope;
  }));
  for (let step = 0; step < steps; step++) network.train(examples, labels, options);
  return { before, gradients, numeric, after: plain(network.parameters), ...network.evaluate(examples, labels) };
})));
