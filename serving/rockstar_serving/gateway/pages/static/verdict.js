// What all models together say about an image, as a headline and a sentence.

import { percent } from "./elements.js";

// The most accurate model must be this sure. With the models of `make demo`, 78 % of MNIST's test
// digits and 6 % of scribbles, 13 % of letters and 10 % of other shapes reach it.
const SURE = 0.7;
const NUMBERS = ["No", "One", "Both", "All three"];

// Answers: {model, label (null: below the model's own threshold), top: [{label, score}], accuracy,
// labels}; `where` is "sentence" detail for screen readers and people alike.
export function verdict(answers) {
  if (!answers.length) return null;
  const best = answers.reduce((a, b) => ((b.accuracy ?? 0) >= (a.accuracy ?? 0) ? b : a));
  const detail = `${answers.map(({ model, top: [first] }) => `${model}: ${first.label} (${percent(first.score)})`).join(", ")}.`;
  const alike = answers.every(({ labels }) => labels.join("\n") === best.labels.join("\n"));
  if (!alike) return { headline: answers.map((each) => `${each.model} says ${each.top[0].label}`).join(", "), detail };
  if (best.label === null || best.top[0].score < SURE) {
    return { headline: `Not sure: this does not look like ${whatever(best)}`, detail, unsure: true };
  }
  const groups = new Map();
  for (const { model, top: [{ label }] } of answers) groups.set(label, [...(groups.get(label) ?? []), model]);
  if (groups.size > 1) {
    const parts = [...groups].sort(([, a], [, b]) => b.length - a.length);
    const sentences = parts.map(([label, models]) => `${listed(models)} ${models.length > 1 ? "say" : "says"} ${label}`);
    return { headline: `They disagree: ${sentences.join(", ")}`, detail };
  }
  const { label } = best.top[0];
  if (answers.length === 1) return { headline: `${best.model} says ${label}`, detail };
  return { headline: `${NUMBERS[answers.length] ?? `All ${answers.length}`} say ${label}`, detail };
}

function whatever({ model, labels }) {
  if (labels.every((label) => /^\d$/.test(label))) return "a digit";
  return labels.length <= 4 ? listed(labels, "or") : `anything that ${model} has learned`;
}

function listed(names, word = "and") {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} ${word} ${names.at(-1)}`;
}
