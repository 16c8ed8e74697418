// Creates an element with a class and a text.
export function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function button(text, className = "") {
  const element = make("button", className, text);
  element.type = "button";
  return element;
}

export function percent(share) {
  const value = share * 100;
  return `${value > 99 || value < 10 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} %`;
}
