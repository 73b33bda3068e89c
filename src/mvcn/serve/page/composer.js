/** The post that a person puts together: a text, an image, or both. */

import { counted, find, say } from "./elements.js";

const MEBIBYTE = 2 ** 20;
const ENVELOPE_BYTES = 2048; // what a form adds to its parts
const FEW_LEFT = 100;

const text = find("text");
const file = find("file");
const preview = find("preview");
const problems = {
  text: find("text-problem"),
  image: find("image-problem"),
  post: find("post-problem"),
};

let image = null;
let reads = ["text", "image"];
let limits = {};
let changed = () => {};

/** Take over what the model reads and what the server accepts, as ``/model`` tells it. */
export function adaptTo(model) {
  reads = model.reads ?? reads;
  limits = model.limits ?? {};
  find("text-field").hidden = !reads.includes("text");
  find("image-field").hidden = !reads.includes("image");
  find("lead").textContent = leadFor(reads);
  find("drop-hint").textContent = limits.body_bytes ? `up to ${mebibytes(limits.body_bytes)}` : "";
  showCount();
}

/** Call a function whenever the post changes. */
export function onChange(callback) {
  changed = callback;
}

/** Replace the whole post. */
export function setPost(newText, newImage) {
  text.value = newText;
  setImage(newImage);
  textChanged();
}

/** Take an image file, or none; what cannot be one is refused with a sentence. */
export function setImage(candidate) {
  const problem = candidate ? problemOf(candidate) : "";
  if (!problem) showImage(candidate);
  say(problems.image, problem);
  say(problems.post, "");
  changed();
}

/**
 * Show what went wrong, and take the reader there.
 * @param {string} sentence
 * @param {"post" | "image"} place What it is about.
 */
export function showProblem(sentence, place = "post") {
  say(problems[place], sentence);
  problems[place].focus();
}

/**
 * Return the post as it is now, or null where something is wrong; that is then shown in its place.
 * @returns {?{text: string, image: ?File, body: FormData}}
 */
export function readPost() {
  const post = {
    text: reads.includes("text") ? text.value : "",
    image: reads.includes("image") ? image : null,
    body: new FormData(),
  };
  const wrong = firstProblem(post);
  for (const [place, element] of Object.entries(problems)) {
    say(element, wrong?.place === place ? wrong.sentence : "");
  }
  text.setAttribute("aria-invalid", String(wrong?.place === "text"));
  if (wrong) {
    wrong.element.focus();
    return null;
  }
  // As a blob, since a form's plain field would have its line ends changed.
  if (post.text.trim()) post.body.append("text", new Blob([post.text], { type: "text/plain" }));
  if (post.image) post.body.append("image", post.image, post.image.name);
  return post;
}

/** Return a post as it is without its image. */
export function withoutImage(post) {
  const body = new FormData();
  if (post.body.has("text")) body.append("text", post.body.get("text"));
  return { ...post, image: null, body };
}

function firstProblem(post) {
  if (!post.text.trim() && !post.image) {
    const ways = { text: "Write a text", image: "Choose an image" };
    const sentence = reads.length > 1 ? "Write a text or choose an image first." : `${ways[reads[0]]} first.`;
    return { place: reads.includes("text") ? "text" : "image", element: firstField(), sentence };
  }
  const left = charactersLeft();
  if (left !== null && left < 0) {
    const sentence = `The text has ${counted(-left, "character")} too many: shorten it.`;
    return { place: "text", element: text, sentence };
  }
  return null;
}

function problemOf(candidate) {
  if (candidate.type && !candidate.type.startsWith("image/")) {
    return `“${candidate.name}” is not an image.`;
  }
  if (limits.body_bytes && candidate.size + ENVELOPE_BYTES > limits.body_bytes) {
    return tooLarge(mebibytes(candidate.size), mebibytes(limits.body_bytes));
  }
  return "";
}

function showImage(newImage) {
  if (preview.src) URL.revokeObjectURL(preview.src);
  image = newImage;
  file.value = "";
  find("chosen").hidden = !image;
  find("drop").hidden = Boolean(image);
  preview.hidden = !image;
  if (!image) return preview.removeAttribute("src");
  preview.src = URL.createObjectURL(image);
  find("file-name").textContent = image.name;
  find("file-size").textContent = mebibytes(image.size);
}

function checkPixels() {
  const pixels = preview.naturalWidth * preview.naturalHeight;
  if (!limits.pixels || pixels <= limits.pixels) return;
  setImage(null);
  say(problems.image, tooLarge(megapixels(pixels), megapixels(limits.pixels)));
}

function tooLarge(own, most) {
  return `This image has ${own}, and the server takes up to ${most}: choose a smaller one.`;
}

function charactersLeft() {
  // As the server counts: a character outside the basic plane is one, not two.
  return limits.text_characters ? limits.text_characters - [...text.value].length : null;
}

function showCount() {
  const left = charactersLeft();
  const count = find("count");
  count.hidden = left === null;
  count.dataset.level = left < 0 ? "over" : left < FEW_LEFT ? "few" : "many";
  count.textContent = `${counted(Math.abs(left), "character")} ${left < 0 ? "too many" : "left"}`;
}

function textChanged() {
  showCount();
  say(problems.text, "");
  say(problems.post, "");
  text.removeAttribute("aria-invalid");
  changed();
}

function leadFor(parts) {
  if (parts.length > 1) return "Give the model a text, an image, or both: it reads them together.";
  return parts[0] === "text" ? "This model reads texts only." : "This model reads images only.";
}

function mebibytes(bytes) {
  const amount = bytes / MEBIBYTE;
  return amount < 1 ? `${Math.ceil(bytes / 1024)} KiB` : `${Number(amount.toFixed(1))} MiB`;
}

function megapixels(pixels) {
  return `${Math.ceil(pixels / 1e6)} million pixels`;
}

function imageIn(transfer) {
  return transfer?.files[0] ?? null;
}

function listen() {
  text.addEventListener("input", textChanged);
  find("drop").addEventListener("click", () => file.click());
  file.addEventListener("change", () => file.files.length && take(file.files[0]));
  preview.addEventListener("load", checkPixels);
  preview.addEventListener("error", () => (preview.hidden = true));
  find("remove").addEventListener("click", () => {
    setImage(null);
    find("drop").focus();
  });
  find("clear").addEventListener("click", () => {
    setPost("", null);
    firstField().focus();
  });
  document.addEventListener("paste", (event) => {
    const pasted = imageIn(event.clipboardData);
    if (!pasted || !reads.includes("image")) return;
    event.preventDefault();
    take(pasted);
  });
  listenToDrops();
}

function listenToDrops() {
  const zone = document.documentElement;
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  zone.addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    zone.classList.add("dragging");
  });
  zone.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("dragging");
  });
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("dragging");
    if (!carriesFile(event)) return;
    event.preventDefault();
    if (reads.includes("image")) take(imageIn(event.dataTransfer));
  });
}

function take(candidate) {
  setImage(candidate);
  (find("drop").hidden ? find("remove") : find("drop")).focus();
}

function firstField() {
  return reads.includes("text") ? text : find("drop");
}

listen();
