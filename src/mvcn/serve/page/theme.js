/* Sets the theme before anything is painted: the person's choice, else the system's. */

"use strict";

(() => {
  const THEME = "mvcn-theme";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const chosen = () => localStorage.getItem(THEME);
  const isDark = () => (chosen() ?? (dark.matches ? "dark" : "light")) === "dark";

  function apply() {
    if (chosen()) root.dataset.theme = chosen();
    document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark()));
  }

  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      localStorage.setItem(THEME, isDark() ? "light" : "dark");
      apply();
    });
  });
})();
