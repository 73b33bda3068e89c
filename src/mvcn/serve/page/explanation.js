/** Why the model says so: the words by weight, and the parts of the image. */

import { find, make, say } from "./elements.js";

const STRONGEST_TINT = 0.75;
const LEAST_NUMBER = 0.05; // of the strongest weight
const ENDS = /^[.,;:!?…%)\]}’”'"]+$/;
const OPENS = /^[#@([{“‘$]+$/;

const map = find("map");

let clock = null;
let shownImage = null;

// Some formats are read by the server and not by the browser.
find("original").addEventListener("error", () => (find("original").parentElement.hidden = true));

map.addEventListener("load", () => {
  find("map-part").style.setProperty("--ratio", map.naturalWidth / map.naturalHeight);
});

/** Show that an explanation is being made, with the seconds since. */
export function showWorking() {
  hideExplanation();
  const start = performance.now();
  const tick = () => (find("seconds").textContent = `${Math.floor((performance.now() - start) / 1000)} s`);
  tick();
  clock = setInterval(tick, 1000);
  setWorking(true);
  find("why-status").textContent = "Explaining. This takes a moment.";
}

/** Take away an explanation or the wait for one. */
export function hideExplanation() {
  clearInterval(clock);
  setWorking(false);
  say(find("why-problem"), "");
  find("why-status").textContent = "";
  find("reasons").hidden = true;
}

/** Show why there is no explanation, and take the reader there. */
export function showExplanationProblem(sentence) {
  hideExplanation();
  say(find("why-problem"), sentence);
  find("why-problem").focus();
}

/**
 * Show an explanation, as ``/explain`` answers it.
 * @param {object} explanation
 * @param {{text: string, image: ?File}} post That is explained.
 */
export function showExplanation({ prediction, words, image_map: png, method }, post) {
  hideExplanation();
  find("why-hint").hidden = true;
  find("explain").hidden = true;
  find("reasons").hidden = false;
  showWords(words, prediction.label, post.text);
  showMap(png, method, prediction.label, post.image);
  find("why-status").textContent = "The explanation is shown.";
  find("reasons").focus({ preventScroll: true });
}

function setWorking(isWorking) {
  find("why-hint").hidden = isWorking;
  find("working").hidden = !isWorking;
  find("stop").hidden = !isWorking;
  find("explain").hidden = isWorking;
}

function showWords(words, label, text) {
  find("words-part").hidden = words.length === 0;
  const peak = Math.max(...words.map(({ weight }) => Math.abs(weight)), 1e-9);
  const groups = together(words).map((group) => group.map((one) => wordElement(one, peak)));
  find("words").replaceChildren(
    ...groups.flatMap((group) => [make("span", "together", ...group), " "]),
  );
  find("words-hint").textContent = `+ speaks for “${label}”, − against it: by how much its log-probability falls without the word. A word without a number hardly counts.`;
  say(find("unread"), isCut(words, text) ? "The rest of the text is beyond what the model reads." : "");
}

/** Group words so that no line begins with a comma or ends with a hash sign. */
function together(words) {
  const groups = [];
  words.forEach((one, position) => {
    const isTail = ENDS.test(one.word) || OPENS.test(words[position - 1]?.word);
    if (isTail && groups.length) groups.at(-1).push(one);
    else groups.push([one]);
  });
  return groups;
}

function wordElement({ word, weight }, peak) {
  const strength = Math.round((100 * STRONGEST_TINT * Math.abs(weight)) / peak);
  const text = make("span", "text", word);
  text.style.setProperty("--strength", `${strength}%`);
  const side = weight > 0 ? "for" : "against";
  const number = Math.abs(weight) < LEAST_NUMBER * peak ? "" : signed(weight);
  return make("span", `word ${side}`, text, make("small", "", number));
}

function signed(weight) {
  return `${weight > 0 ? "+" : "−"}${Math.abs(weight).toPrecision(2)}`;
}

/** Whether letters or digits follow the last word; words are found in the text as they are. */
function isCut(words, text) {
  const end = words.reduce((from, { word }) => {
    const start = text.indexOf(word, from);
    return start < 0 ? from : start + word.length;
  }, 0);
  return /[\p{L}\p{N}]/u.test(text.slice(end));
}

function showMap(png, method, label, image) {
  if (shownImage) URL.revokeObjectURL(shownImage);
  shownImage = png && image ? URL.createObjectURL(image) : null;
  find("map-part").hidden = !png;
  if (!png) return;
  find("original").parentElement.hidden = false;
  find("original").src = shownImage;
  map.src = `data:image/png;base64,${png}`;
  map.alt = `Heat map of the image: what speaks for or against “${label}”`;
  find("scale-low").textContent = `against “${label}”`;
  find("scale-high").textContent = `for “${label}”`;
  find("map-hint").textContent = `Found by ${method}: red parts speak for the class, blue ones against it.`;
}
