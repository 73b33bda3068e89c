/** The page of the service: what happens when a person does something. */

import * as composer from "./composer.js";
import { find, say } from "./elements.js";
import * as reasons from "./explanation.js";
import * as panel from "./prediction.js";
import { ask } from "./server.js";

const RETRY_MS = 2000;
/** A post whose image cannot be read is classified by its text, and the page says so. */
const PREDICT = "predict?on_bad_image=blank";

let answered = null;
let isModelKnown = false;
let running = new AbortController();

/** Stop what is under way, so that an older answer never replaces a newer one. */
function startRequest() {
  running.abort();
  running = new AbortController();
  return running.signal;
}

async function predict() {
  const signal = startRequest();
  reasons.hideExplanation();
  panel.stopWaiting();
  const post = composer.readPost();
  if (post === null) return;
  panel.showWaiting();
  try {
    if (!isModelKnown) await showModel();
    const { predictions } = await ask(PREDICT, { body: post.body, signal });
    showAnswer(post, predictions[0]);
  } catch (failure) {
    if (signal.aborted) return;
    panel.stopWaiting();
    composer.showProblem(failure.message);
  }
}

function showAnswer(post, prediction) {
  const { probabilities, problem } = prediction;
  answered = problem ? composer.withoutImage(post) : post;
  if (problem) composer.showProblem(problem, "image");
  if (!Object.keys(probabilities).length) return panel.clearPrediction();
  panel.showPrediction(prediction);
  if (!problem) bringIntoView(find("prediction"));
}

async function explain() {
  const signal = startRequest();
  reasons.showWorking();
  find("stop").focus();
  try {
    const explanation = await ask("explain", { body: answered.body, signal });
    reasons.showExplanation(explanation, answered);
    bringIntoView(find("reasons"));
  } catch (failure) {
    if (!signal.aborted) reasons.showExplanationProblem(failure.message);
  }
}

function stop() {
  startRequest();
  reasons.hideExplanation();
  find("explain").focus();
}

function clear() {
  startRequest();
  answered = null;
  reasons.hideExplanation();
  panel.clearPrediction();
}

async function tryExample(button) {
  const picture = button.querySelector("img");
  const answer = await fetch(picture.src);
  const name = picture.src.split("/").pop();
  const file = new File([await answer.blob()], name, { type: "image/jpeg" });
  composer.setPost(button.querySelector("span").textContent, file);
  await predict();
}

function bringIntoView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  if (top >= 0 && Math.min(bottom, top + innerHeight / 2) <= innerHeight) return;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ behavior: isCalm ? "auto" : "smooth", block: "start" });
}

/** Wait until the model is there. */
async function meetModel() {
  try {
    await ask("ready");
    await showModel();
  } catch (failure) {
    if (failure.status === 401) return say(find("banner"), `${failure.message} Predict asks again.`);
    say(find("banner"), `${failure.message} This page tries again by itself.`);
    setTimeout(meetModel, RETRY_MS);
  }
}

/** Show which model it is, and take over what it reads and what the server accepts. */
async function showModel() {
  const model = await ask("model");
  composer.adaptTo(model);
  find("facts").textContent = `${model.network}, ${model.labels.length} classes`;
  find("facts").title = model.labels.join(", ");
  say(find("banner"), "");
  isModelKnown = true;
}

function listen() {
  find("post").addEventListener("submit", (event) => {
    event.preventDefault();
    predict();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("post").requestSubmit();
  });
  find("explain").addEventListener("click", explain);
  find("stop").addEventListener("click", stop);
  find("clear").addEventListener("click", clear);
  for (const button of document.querySelectorAll(".example")) {
    button.addEventListener("click", () => tryExample(button));
  }
  composer.onChange(panel.showStale);
  if (/Mac|iPhone|iPad/.test(navigator.userAgent)) find("modifier").textContent = "⌘";
}

listen();
meetModel();
