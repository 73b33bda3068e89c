/** The API key, where the server asks for one; it lives as long as the tab. */

import { find, say } from "./elements.js";

const NAME = "mvcn-api-key";
const dialog = find("key-dialog");
let asked = null;

/** Return the key that the person gave, or null. */
export const storedKey = () => sessionStorage.getItem(NAME);

/**
 * Ask for the key; requests that need it at the same time share one dialog.
 * @param {boolean} refused Whether a key was tried in vain.
 * @returns {Promise<boolean>} Whether the person gave one.
 */
export function askKey(refused) {
  asked ??= openDialog(refused).finally(() => (asked = null));
  return asked;
}

function openDialog(refused) {
  say(find("key-problem"), refused ? "The server refused this key." : "");
  find("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(keep()), { once: true });
  });
}

function keep() {
  const given = dialog.returnValue === "use";
  if (given) sessionStorage.setItem(NAME, find("key").value);
  else sessionStorage.removeItem(NAME);
  return given;
}

find("key-cancel").addEventListener("click", () => dialog.close(""));
