// The service's HTTP API. What fails is an Error whose message is a sentence for a person.

// Where the service is, which a proxy may have mounted under any path.
const ROOT = new URL("..", import.meta.url);

let key = "";

export class KeyNeeded extends Error {}

// What was sent is at fault; the message goes on after its name and a colon.
export class BadInput extends Error {}

export function useKey(text) {
  key = text;
}

export async function listModels() {
  return (await (await ask("v1/models")).json()).models;
}

// One prediction, with the version that answered and how long it took, in milliseconds.
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

// A picture of what spoke for and against the answer.
export async function explain(model, body, signal) {
  const accept = { Accept: "image/png" };
  const response = await ask(`explain/${encodeURIComponent(model)}`, body, { signal, headers: accept });
  return response.blob();
}

async function ask(path, body, { signal, headers = {} } = {}) {
  const options = { signal, headers: { ...headers } };
  if (key) options.headers.Authorization = `Bearer ${key}`;
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
    const { detail, hint, field } = await response.json();
    const wrong = detail.match(/^body: (.*)/s);
    if (wrong) return new BadInput(ended(wrong[1]));
    // Where a field is named, a hint beside the detail tells programs where the API is described.
    const sentence = ended(`${detail[0].toUpperCase()}${detail.slice(1)}`);
    const message = hint && !field && !detail.includes(hint) ? `${sentence} ${hint}` : sentence;
    return response.status === 401 ? new KeyNeeded(message) : new Error(message);
  } catch {
    return response.status === 413
      ? new BadInput("it is larger than a server in between lets through.")
      : new Error(`The service answered ${response.status} ${response.statusText}.`);
  }
}

function ended(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
