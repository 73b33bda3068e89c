/** Elements of the page; whatever people or the server wrote goes in as text, never as HTML. */

/** Return the element with an id. */
export const find = (id) => document.getElementById(id);

/** Make an element of a class that holds a text or other elements. */
export function make(tag, className, ...content) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...content);
  return element;
}

/** Show a sentence in an element that is hidden while it has none. */
export function say(element, sentence) {
  element.textContent = sentence;
  element.hidden = !sentence;
}

/** Return a whole number with its unit, in the plural where it must be. */
export function counted(number, unit) {
  return `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;
}
