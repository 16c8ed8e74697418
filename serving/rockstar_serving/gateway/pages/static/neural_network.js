// A small fully connected network with gradient descent, in typed arrays, for the playground.

// Each activation: its value for x, and its derivative from x and the value.
export const ACTIVATIONS = {
  tanh: [Math.tanh, (x, y) => 1 - y * y],
  relu: [(x) => Math.max(0, x), (x) => (x > 0 ? 1 : 0)],
  prelu: null, // has a learned slope for negative values, see below
  sigmoid: [(x) => 1 / (1 + Math.exp(-x)), (x, y) => y * (1 - y)],
  arctan: [Math.atan, (x) => 1 / (1 + x * x)],
  softsign: [(x) => x / (1 + Math.abs(x)), (x) => 1 / (1 + Math.abs(x)) ** 2],
  linear: [(x) => x, () => 1],
};
export const REGULARIZATIONS = ["none", "L1", "L2"];
export const OPTIMIZERS = ["gradient descent", "Adam"];
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-7]; // of Adam, as in Keras

// Uniform random numbers in 0…1 that depend on the seed only (mulberry32).
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Network {
  // `sizes` are the numbers of inputs, of neurons of each hidden layer, and of outputs. One output
  // is the probability of class 1; more are probabilities of classes, which sum to 1. Weights begin
  // as in Keras (Glorot uniform), biases and slopes at 0.
  constructor(sizes, activation, random) {
    this.sizes = sizes;
    this.activation = activation;
    this.layers = sizes.slice(1).map((outputs, index) => {
      const inputs = sizes[index];
      const limit = Math.sqrt(6 / (inputs + outputs));
      const isHidden = index < sizes.length - 2;
      return {
        inputs,
        outputs,
        weights: Float64Array.from({ length: inputs * outputs }, () => limit * (2 * random() - 1)), // [outputs, inputs]
        biases: new Float64Array(outputs),
        slopes: new Float64Array(isHidden && activation === "prelu" ? outputs : 0),
      };
    });
    this.steps = 0;
    this.moments = this.parameters.map((values) => [new Float64Array(values.length), new Float64Array(values.length)]);
  }

  // All parameters: weights, biases and slopes of each layer in turn.
  get parameters() {
    return this.layers.flatMap(({ weights, biases, slopes }) => [weights, biases, slopes]);
  }

  get outputs() {
    return this.sizes.at(-1);
  }

  // The layers' sums and values for examples, [n, inputs] row by row: the values of the last layer
  // are probabilities.
  forward(inputs) {
    const count = inputs.length / this.sizes[0];
    let given = inputs;
    return this.layers.map((layer, index) => {
      const sums = weighted(layer, given, count);
      const isLast = index === this.layers.length - 1;
      const values = isLast ? probabilities(sums, this.outputs) : this.#activate(layer, sums);
      given = values;
      return { sums, values };
    });
  }

  predict(inputs) {
    return this.forward(inputs).at(-1).values;
  }

  // Mean cross-entropy and share of right answers, and what `forward` returned; `labels` are the
  // numbers of the classes.
  evaluate(inputs, labels) {
    const passes = this.forward(inputs);
    const found = passes.at(-1).values;
    let [loss, right] = [0, 0];
    labels.forEach((label, at) => {
      loss -= Math.log(Math.max(this.#probability(found, at, label), 1e-300));
      right += this.#likeliest(found, at) === label;
    });
    return { loss: loss / labels.length, accuracy: right / labels.length, passes };
  }

  // The gradients of the mean loss of a batch and of the regularization, in the order of `parameters`.
  gradients(inputs, labels, { regularization = "none", rate = 0 } = {}) {
    const count = labels.length;
    const passes = this.forward(inputs);
    const found = passes.at(-1).values;
    // The derivative of cross-entropy after sigmoid or softmax by the sums of the last layer.
    let errors = Float64Array.from(found, (value, at) => {
      const [example, output] = [Math.trunc(at / this.outputs), at % this.outputs];
      const truth = this.outputs === 1 ? labels[example] : Number(labels[example] === output);
      return (value - truth) / count;
    });
    let slopes = new Float64Array(0);
    const gradients = [];
    for (let index = this.layers.length - 1; index >= 0; index--) {
      const layer = this.layers[index];
      const given = index ? passes[index - 1].values : inputs;
      const { weights, biases } = atParameters(layer, given, errors, count);
      penalize(weights, layer.weights, regularization, rate);
      gradients.unshift(weights, biases, slopes);
      if (!index) break;
      errors = atInputs(layer, errors, count);
      slopes = this.#backThrough(this.layers[index - 1], passes[index - 1], errors);
    }
    return gradients;
  }

  // One step of gradient descent, or of Adam.
  train(inputs, labels, { learningRate, optimizer = "gradient descent", ...penalty }) {
    const gradients = this.gradients(inputs, labels, penalty);
    this.steps += 1;
    const scale = Math.sqrt(1 - BETA2 ** this.steps) / (1 - BETA1 ** this.steps);
    this.parameters.forEach((values, which) => {
      const gradient = gradients[which];
      const [first, second] = this.moments[which];
      for (let at = 0; at < values.length; at++) {
        if (optimizer === "Adam") {
          first[at] += (1 - BETA1) * (gradient[at] - first[at]);
          second[at] += (1 - BETA2) * (gradient[at] ** 2 - second[at]);
          values[at] -= (learningRate * scale * first[at]) / (Math.sqrt(second[at]) + EPSILON);
        } else {
          values[at] -= learningRate * gradient[at];
        }
      }
    });
  }

  #activate({ outputs, slopes }, sums) {
    if (this.activation === "prelu") {
      return sums.map((x, at) => (x > 0 ? x : slopes[at % outputs] * x));
    }
    const activation = ACTIVATIONS[this.activation][0];
    const values = new Float64Array(sums.length);
    // `map` of typed arrays takes twice as long.
    for (let at = 0; at < values.length; at++) values[at] = activation(sums[at]);
    return values;
  }

  // Turns the errors at a layer's values into those at its sums; returns the gradients of its slopes.
  #backThrough({ outputs, slopes }, { sums, values }, errors) {
    const gradients = new Float64Array(slopes.length);
    if (this.activation !== "prelu") {
      const derivative = ACTIVATIONS[this.activation][1];
      for (let at = 0; at < errors.length; at++) errors[at] *= derivative(sums[at], values[at]);
      return gradients;
    }
    for (let at = 0; at < errors.length; at++) {
      if (sums[at] > 0) continue;
      gradients[at % outputs] += errors[at] * sums[at];
      errors[at] *= slopes[at % outputs];
    }
    return gradients;
  }

  #probability(found, example, label) {
    if (this.outputs === 1) return label === 1 ? found[example] : 1 - found[example];
    return found[example * this.outputs + label];
  }

  #likeliest(found, example) {
    if (this.outputs === 1) return Number(found[example] > 0.5);
    const row = found.subarray(example * this.outputs, (example + 1) * this.outputs);
    return row.indexOf(Math.max(...row));
  }
}

// Trains a network on batches in random order.
export class Trainer {
  constructor(network, { inputs, labels }, random) {
    Object.assign(this, { network, inputs, labels, random, epoch: 0, order: [], at: 0 });
  }

  // Trains on the next batch; an epoch ends with the last batch of the examples.
  step(batchSize, options) {
    if (this.at >= this.order.length) [this.order, this.at] = [shuffled(this.labels.length, this.random), 0];
    const chosen = this.order.subarray(this.at, this.at + batchSize);
    const width = this.network.sizes[0];
    const batch = new Float64Array(chosen.length * width);
    chosen.forEach((example, index) => {
      batch.set(this.inputs.subarray(example * width, (example + 1) * width), index * width);
    });
    this.network.train(batch, Array.from(chosen, (example) => this.labels[example]), options);
    this.at += batchSize;
    if (this.at >= this.order.length) this.epoch += 1;
  }
}

// Sums of a layer: [n, outputs] from [n, inputs]. Inputs that are 0, such as most pixels of a digit, cost nothing.
function weighted({ inputs, outputs, weights, biases }, given, count) {
  const sums = new Float64Array(count * outputs);
  for (let example = 0; example < count; example++) {
    const to = example * outputs;
    for (let output = 0; output < outputs; output++) sums[to + output] = biases[output];
    for (let input = 0; input < inputs; input++) {
      const value = given[example * inputs + input];
      if (value === 0) continue;
      for (let output = 0, weight = input; output < outputs; output++, weight += inputs) sums[to + output] += weights[weight] * value;
    }
  }
  return sums;
}

function atParameters({ inputs, outputs }, given, errors, count) {
  const [weights, biases] = [new Float64Array(inputs * outputs), new Float64Array(outputs)];
  for (let example = 0; example < count; example++) {
    const from = example * outputs;
    for (let output = 0; output < outputs; output++) biases[output] += errors[from + output];
    for (let input = 0; input < inputs; input++) {
      const value = given[example * inputs + input];
      if (value === 0) continue;
      for (let output = 0, weight = input; output < outputs; output++, weight += inputs) weights[weight] += errors[from + output] * value;
    }
  }
  return { weights, biases };
}

function atInputs({ inputs, outputs, weights }, errors, count) {
  const before = new Float64Array(count * inputs);
  for (let example = 0; example < count; example++) {
    for (let output = 0; output < outputs; output++) {
      const error = errors[example * outputs + output];
      const [row, at] = [output * inputs, example * inputs];
      for (let input = 0; input < inputs; input++) before[at + input] += error * weights[row + input];
    }
  }
  return before;
}

// Adds the gradient of rate · Σ|w| (L1) or rate · Σw² / 2 (L2).
function penalize(gradient, weights, regularization, rate) {
  if (regularization === "none") return;
  weights.forEach((weight, at) => {
    gradient[at] += rate * (regularization === "L1" ? Math.sign(weight) : weight);
  });
}

// Sigmoid of one output, softmax of several.
function probabilities(sums, outputs) {
  if (outputs === 1) return sums.map((x) => 1 / (1 + Math.exp(-x)));
  const found = new Float64Array(sums.length);
  for (let start = 0; start < sums.length; start += outputs) {
    const highest = Math.max(...sums.subarray(start, start + outputs));
    let total = 0;
    for (let at = start; at < start + outputs; at++) total += found[at] = Math.exp(sums[at] - highest);
    for (let at = start; at < start + outputs; at++) found[at] /= total;
  }
  return found;
}

// The numbers below `count` in random order.
export function shuffled(count, random) {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}
