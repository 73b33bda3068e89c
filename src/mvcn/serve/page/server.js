/** Requests to the service. Whatever goes wrong becomes a `Problem`: one sentence for people. */

import { askKey, storedKey } from "./key.js";

const UNREACHABLE = "The server does not answer. Is it still running?";

/** Why there is no answer. */
export class Problem extends Error {
  /**
   * @param {string} sentence What is wrong.
   * @param {number} status HTTP status; 0 where no answer came.
   */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/**
 * Return the JSON that the service answers.
 * @param {string} path Below the page's own address.
 * @param {{body?: FormData, signal?: AbortSignal}} request Sent by POST if it has a body.
 */
export async function ask(path, { body, signal } = {}) {
  const answer = await reachWithKey(path, { body, signal, method: body ? "POST" : "GET" });
  const content = await answer.json().catch(() => null);
  signal?.throwIfAborted();
  if (answer.ok && content !== null) return content;
  throw new Problem(sentenceOf(answer, content), answer.status);
}

async function reachWithKey(path, options) {
  let used = storedKey();
  let answer = await reach(path, options, used);
  while (answer.status === 401) {
    const isNewer = storedKey() !== used;
    if (!isNewer && !(await askKey(used !== null))) {
      throw new Problem("This server answers only those who have its API key.", 401);
    }
    used = storedKey();
    answer = await reach(path, options, used);
  }
  return answer;
}

async function reach(path, options, key) {
  const headers = { Accept: "application/json" };
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Problem(UNREACHABLE, 0);
  }
}

function sentenceOf(answer, content) {
  const sentence = content?.error ?? `The server answered with status ${answer.status}.`;
  const seconds = answer.headers.get("Retry-After");
  const isSaid = seconds === null || sentence.includes(`${seconds} s`);
  return isSaid ? sentence : `${sentence} Try again in ${seconds} s.`;
}
