/** Sends the requests that are typed on the page about the HTTP API, and shows the answers. */

const FORM = "multipart/form-data";

for (const form of document.querySelectorAll("form.try")) form.addEventListener("submit", send);
document.getElementById("key-form")?.addEventListener("submit", (event) => event.preventDefault());

async function send(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const output = form.querySelector("output");
  output.textContent = "Waiting for the answer.";
  const started = performance.now();
  try {
    const answer = await fetch(addressOf(form), requestOf(form));
    const shown = await contentOf(answer);
    const milliseconds = Math.round(performance.now() - started);
    output.replaceChildren(line(`Status ${answer.status}, ${milliseconds} ms`), shown);
  } catch {
    output.textContent = "The server does not answer. Is it still running?";
  }
}

function addressOf(form) {
  const options = new URLSearchParams();
  for (const one of form.querySelectorAll("[data-parameter]")) options.set(one.dataset.parameter, one.value);
  const path = form.dataset.path.slice(1);
  return options.size ? `${path}?${options}` : path;
}

function requestOf(form) {
  const { method, type } = form.dataset;
  const headers = { Accept: form.querySelector("[data-accept]")?.value ?? "*/*" };
  const key = document.getElementById("key")?.value;
  if (key) headers.Authorization = `Bearer ${key}`;
  if (!type) return { method, headers };
  if (type === FORM) return { method, headers, body: fieldsOf(form) };
  return { method, headers: { ...headers, "Content-Type": type }, body: form.elements.body.value };
}

/** Return the fields that were filled: an empty one is not sent. */
function fieldsOf(form) {
  const filled = new FormData();
  for (const [name, value] of new FormData(form)) {
    if (value instanceof File ? value.name : value) filled.set(name, value);
  }
  return filled;
}

async function contentOf(answer) {
  if (answer.headers.get("Content-Type")?.startsWith("image/")) {
    const image = new Image();
    image.alt = "The image of the answer";
    image.src = URL.createObjectURL(await answer.blob());
    return image;
  }
  const text = await answer.text();
  const shown = document.createElement("pre");
  shown.tabIndex = 0;
  shown.textContent = pretty(text);
  return shown;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function line(text) {
  const shown = document.createElement("p");
  shown.textContent = text;
  return shown;
}
