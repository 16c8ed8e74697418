// The panel that shows what a network does with the current image: the image as the network gets it,
// similar training examples, and what each layer computes.

import { make } from "./elements.js";
import { inspect } from "./service.js";

// Time without changes before the panel is updated: it is no part of predictions.
const PAUSE_MS = 250;

export class Inside {
  constructor(panel) {
    this.panel = panel;
    this.title = panel.querySelector("h2");
    this.place = make("div", "inside");
    panel.append(this.place);
    this.model = null;
    this.open = new Set(); // layers that are unfolded
    this.asking = new AbortController();
    this.timer = 0;
  }

  // Show a model's view of an image, or hide the panel if the model is shown already.
  toggle(model, image) {
    this.model = this.model === model ? null : model;
    this.panel.hidden = !this.model;
    if (this.model) {
      this.title.textContent = `Inside ${model}`;
      this.update(image, 0);
    }
    return this.model;
  }

  // Follow the current image, a blob or null.
  update(image, pause = PAUSE_MS) {
    clearTimeout(this.timer);
    this.asking.abort();
    if (!this.model) return;
    if (!image) {
      this.#say("Draw something to see what the network makes of it.");
      return;
    }
    this.timer = setTimeout(() => this.#load(image), pause);
  }

  async #load(image) {
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.panel.setAttribute("aria-busy", "true");
    try {
      const seen = await inspect(this.model, image, signal);
      if (!signal.aborted) this.#show(seen);
    } catch (error) {
      if (error.name !== "AbortError") this.#say(error.message);
    } finally {
      if (!signal.aborted) this.panel.removeAttribute("aria-busy");
    }
  }

  #say(text) {
    this.place.replaceChildren(make("p", "hint", text));
  }

  #show({ input, layers, nearest }) {
    const [height, width] = input.shape;
    const prepared = block("What the network sees", `The image after preprocessing, ${width} × ${height} pixels.`);
    prepared.append(picture(input.image, `The prepared image, ${width} × ${height} pixels`, "prepared"));
    const parts = [prepared];
    if (nearest.length) {
      const similar = block("Similar training examples", "Nearest by what the last layer gets, the most similar first.");
      const row = make("ol", "nearest");
      for (const { label, image } of nearest) {
        const item = make("li");
        item.append(picture(image, "", ""), make("span", "", label));
        row.append(item);
      }
      similar.append(row);
      parts.push(similar);
    }
    const maps = block("Layers", layers.length
      ? "White is the largest value of a layer. Early layers find edges, later ones parts of shapes."
      : "Only a gateway that runs the models itself, such as rockstar serve, can show the layers.");
    maps.classList.add("layers");
    for (const [index, { name, shape, image }] of layers.entries()) maps.append(this.#layer(index, name, shape, image));
    parts.push(maps);
    this.place.replaceChildren(...parts);
  }

  #layer(index, name, shape, image) {
    const details = make("details");
    const size = shape.length === 3 ? `${shape[2]} maps of ${shape[1]} × ${shape[0]}` : `${shape[0]} values`;
    details.append(make("summary", "", `${name}: ${size}`), picture(image, `${size} that ${name} computes`, "maps"));
    const key = `${index} ${name}`;
    details.open = this.open.has(key);
    details.addEventListener("toggle", () => (details.open ? this.open.add(key) : this.open.delete(key)));
    return details;
  }
}

function block(title, text) {
  const part = make("div");
  part.append(make("h3", "", title), make("p", "hint", text));
  return part;
}

function picture(source, alternative, className) {
  const image = make("img", `pixels ${className}`);
  image.src = source;
  image.alt = alternative;
  return image;
}
