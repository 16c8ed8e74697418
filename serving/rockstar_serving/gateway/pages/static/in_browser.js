// Runs the models in this browser, too, if the user wants that: the same file as on a phone.

import { ROOT } from "./service.js";

const running = new Map(); // by card: the image to predict next, or null

// Shows on a card what this browser predicts next to the answer of the service, the latest one if
// answers arrive faster than this browser predicts.
export async function compare(card, image) {
  if (running.has(card)) {
    running.set(card, image);
    return;
  }
  for (let next = image; next; next = running.get(card)) {
    running.set(card, null);
    const answer = card.shown;
    const text = await predicted(card, next, answer);
    if (answer && answer === card.shown) card.showCompared(text);
  }
  running.delete(card);
}

async function predicted(card, image, answer) {
  if (!answer) return "";
  const server = `server: ${labelOf(answer)}`;
  try {
    // Not before it is wanted: it loads LiteRT.
    const { predictInBrowser } = await import("./browser_model.js");
    const litert = new URL(document.body.dataset.litert, document.baseURI);
    const { model } = card.model;
    const found = await predictInBrowser({ root: ROOT, litert, model, version: answer.version, image, top: card.top });
    return `${server}, this browser: ${labelOf(found)}`;
  } catch (error) {
    const why = error.name === "InvalidStateError" ? "it cannot read this image." : error.message;
    return `${server}, this browser: ${why}`;
  }
}

function labelOf({ prediction: { label }, milliseconds }) {
  return `${label ?? "not sure"} (${Math.max(1, Math.round(milliseconds))} ms)`;
}
