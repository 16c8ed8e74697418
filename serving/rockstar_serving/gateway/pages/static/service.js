// The service's HTTP API. The browser adds the API key, if one is needed. Errors have a sentence for
// the user as their message.

// The root of the service, which a proxy may mount under any path.
export const ROOT = new URL("..", import.meta.url);

// An invalid input; the message is shown after the name of the input and a colon.
export class BadInput extends Error {}

export async function listModels() {
  return (await (await ask("v1/models")).json()).models;
}

// One prediction with the model version and the duration in milliseconds.
export async function predict(model, body, top, signal) {
  const started = performance.now();
  const response = await ask(`predict/${encodeURIComponent(model)}?top=${top}`, body, { signal });
  const answer = await response.json();
  return {
    prediction: answer.predictions[0],
    version: answer.version,
    milliseconds: performance.now() - started,
  };
}

export function predictRow(model, row, top) {
  return predict(model, json({ instances: [row] }), top);
}

// Several rows: the answer with all labels and the probability of each.
export async function predictRows(model, rows) {
  const response = await ask(`predict/${encodeURIComponent(model)}?full=true&top=1`, json({ instances: rows }));
  return response.json();
}

// What there is to see of a model: {layers, card, report}, each true or false.
export async function describe(model) {
  return (await ask(`page/models/${encodeURIComponent(model)}`)).json();
}

// {input, layers, nearest} of an image, with pictures as data URLs.
export async function inspect(model, body, signal) {
  return (await ask(`page/models/${encodeURIComponent(model)}/inspect`, body, { signal })).json();
}

// Keeps an image with its right label; returns how many corrections there are.
export async function correct(model, label, body) {
  const path = `page/models/${encodeURIComponent(model)}/corrections?label=${encodeURIComponent(label)}`;
  return (await (await ask(path, body)).json()).corrections;
}

// The address of a model's "card" or "report".
export function documentOf(model, name) {
  return new URL(`page/models/${encodeURIComponent(model)}/${name}`, ROOT).href;
}

function json(value) {
  return new Blob([JSON.stringify(value)], { type: "application/json" });
}

// A picture of the regions that support and oppose the answer.
export async function explain(model, body, signal) {
  const accept = { Accept: "image/png" };
  const response = await ask(`explain/${encodeURIComponent(model)}`, body, { signal, headers: accept });
  return response.blob();
}

async function ask(path, body, { signal, headers = {} } = {}) {
  const options = { signal, headers: { ...headers } };
  if (body) {
    options.method = "POST";
    options.body = body;
    options.headers["Content-Type"] = body.type || "application/octet-stream";
  }
  let response;
  try {
    response = await fetch(new URL(path, ROOT), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  throw await errorOf(response);
}

async function errorOf(response) {
  try {
    const { detail: full, hint, field } = await response.json();
    // The page sends one row at a time.
    const detail = full.replace(/^instances\[0\]\./, "");
    const wrong = detail.match(/^body: (.*)/s);
    if (wrong) return new BadInput(ended(wrong[1]));
    // With a field, the hint links to the description of the API, which is for programs.
    const sentence = ended(`${detail[0].toUpperCase()}${detail.slice(1)}`);
    const message = hint && !field && !detail.includes(hint) ? `${sentence} ${hint}` : sentence;
    return new Error(message);
  } catch {
    return response.status === 413
      ? new BadInput("it is larger than a proxy allows.")
      : new Error(`The service returned ${response.status} ${response.statusText}.`);
  }
}

function ended(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
