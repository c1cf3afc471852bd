// Runs before the page is drawn: the theme that was chosen on this device, else the system's.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("console-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is closed: the system's theme.
  }
})();
