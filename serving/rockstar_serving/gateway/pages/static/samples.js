import { drawStrokes } from "./drawing.js";

// Digits as pen strokes, in a square of side 100.
export const SAMPLES = {
  0: [[[50, 16], [33, 24], [25, 45], [27, 68], [40, 84], [58, 84], [72, 68], [75, 45], [67, 24], [50, 16]]],
  1: [[[40, 28], [54, 16], [54, 84]]],
  2: [[[28, 32], [34, 20], [50, 15], [66, 22], [69, 38], [58, 55], [40, 70], [28, 84], [74, 84]]],
  3: [[[29, 22], [46, 15], [64, 21], [67, 35], [57, 46], [44, 48], [60, 51], [71, 63], [66, 78], [49, 85], [29, 79]]],
  4: [[[60, 16], [28, 58], [76, 58]], [[62, 38], [62, 86]]],
  5: [[[69, 16], [36, 16], [32, 45], [50, 40], [67, 48], [71, 64], [62, 80], [46, 85], [29, 78]]],
  6: [[[64, 15], [44, 28], [31, 50], [30, 70], [42, 84], [58, 84], [69, 72], [66, 57], [52, 51], [37, 58], [31, 68]]],
  7: [[[27, 18], [72, 18], [56, 48], [44, 85]], [[36, 52], [70, 52]]],
  8: [[[66, 24], [52, 15], [36, 22], [36, 36], [50, 47], [66, 60], [67, 76], [51, 85], [34, 77], [35, 61], [50, 48], [64, 37], [66, 24]]],
  9: [[[68, 34], [58, 46], [42, 46], [32, 34], [38, 20], [54, 15], [68, 24], [68, 40], [63, 64], [52, 85]]],
};

// A button for each sample, which draws it; of some labels only, if they are given.
export function sampleButtons(drawing, labels = Object.keys(SAMPLES)) {
  return Object.entries(SAMPLES).filter(([label]) => labels.includes(label)).map(([label, strokes]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Sample ${label}`);
    const small = document.createElement("canvas");
    small.width = small.height = 64;
    drawStrokes(small, strokes.map((stroke) => stroke.map(([x, y]) => [x / 100, y / 100])));
    button.append(small);
    button.addEventListener("click", () => drawing.show(strokes));
    return button;
  });
}
