/** The prediction for a post: its class, and how probable each one is. */

import { find, make, say } from "./elements.js";

const SHOWN_CLASSES = 6;
const LONG_NAME = 18;

const panel = find("prediction");
const more = find("more");

/** Show that an answer is awaited. */
export function showWaiting() {
  panel.dataset.state = panel.dataset.state === "empty" ? "first" : "again";
  panel.setAttribute("aria-busy", "true");
}

/** Show that none will come: what was there before stays, as it was. */
export function stopWaiting() {
  panel.removeAttribute("aria-busy");
  panel.dataset.state = find("answered").hidden ? "empty" : "shown";
}

/** Show a prediction, as ``/predict`` answers it. */
export function showPrediction({ label, probabilities, problem }) {
  find("answered").hidden = false;
  stopWaiting();
  find("winner").replaceChildren(...winner(label, probabilities));
  say(find("image-note"), problem ? "By the text alone: the image could not be read." : "");
  say(find("stale"), "");
  showBars(label, probabilities);
}

/** Say that the post on the left is no longer the one that was classified. */
export function showStale() {
  if (panel.dataset.state === "shown") {
    say(find("stale"), "Your post has changed since. Predict again for the new one.");
  }
}

/** Forget the prediction. */
export function clearPrediction() {
  find("answered").hidden = true;
  find("winner").replaceChildren();
  say(find("image-note"), "");
  say(find("stale"), "");
  stopWaiting();
}

function winner(label, probabilities) {
  if (label === null) return [make("span", "name", "no class")];
  const name = make("span", label.length > LONG_NAME ? "name long" : "name", label);
  return [name, " ", make("span", "chance", percent(probabilities[label]))];
}

function showBars(label, probabilities) {
  const order = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  find("bars").replaceChildren(...order.map(([name, chance]) => bar(name, chance, name === label)));
  more.hidden = order.length <= SHOWN_CLASSES;
  expand(false);
}

function bar(name, chance, isWinner) {
  const fill = make("i", "");
  fill.style.width = `${100 * chance}%`;
  const track = make("span", "track", fill);
  track.setAttribute("aria-hidden", "true");
  const words = [make("span", "name", name), " ", make("span", "chance", percent(chance))];
  return make("li", isWinner ? "bar best" : "bar", ...words, track);
}

function expand(isOpen) {
  const rows = [...find("bars").children];
  for (const row of rows.slice(SHOWN_CLASSES)) row.hidden = !isOpen;
  more.setAttribute("aria-expanded", String(isOpen));
  more.textContent = isOpen ? "Show fewer classes" : `Show all ${rows.length} classes`;
}

function percent(share) {
  const tenths = (100 * share).toFixed(1);
  if (tenths === "0.0" && share > 0) return "< 0.1 %";
  return tenths === "100.0" && share < 1 ? "> 99.9 %" : `${tenths} %`;
}

more.addEventListener("click", () => expand(more.getAttribute("aria-expanded") === "false"));
