// What every page does: says whether it is live, fetches its live part again, counts ages, copies ids, changes the theme.

const SILENCE_MS = 12_000; // The stream ticks every 5 s.
const REFRESH_EVERY_MS = 10_000; // Without news: ages and health go on.
const REFRESH_APART_MS = 1_000;

const live = document.getElementById("live");
const badge = document.getElementById("liveness");

let heardAt = Date.now();
let wasLive = false;
let refreshedAt = Date.now();
let due = 0;

function clock(ms) {
  return new Date(ms).toISOString().slice(11, 19) + " UTC";
}

function show(state, text) {
  if (!badge || badge.dataset.state === state) return;
  badge.dataset.state = state;
  badge.textContent = text;
  document.body.dataset.live = state;
}

function refresh() {
  clearTimeout(due);
  due = 0;
  refreshedAt = Date.now();
  document.body.dispatchEvent(new CustomEvent("console:refresh"));
  // A page without a live part still says at once that trading is halted, and that it goes on.
  if (!document.querySelector(".live-part")) document.getElementById("standing")?.dispatchEvent(new CustomEvent("console:standing"));
}

function refreshSoon() {
  if (due || document.hidden) return;
  due = setTimeout(refresh, Math.max(0, refreshedAt + REFRESH_APART_MS - Date.now()));
}

function heard() {
  heardAt = Date.now();
  const back = badge?.dataset.state !== "live";
  show("live", "live");
  if (back && wasLive) refreshSoon();
  wasLive = true;
}

if (live) {
  live.addEventListener("tick", () => {
    heard();
    if (Date.now() - refreshedAt >= REFRESH_EVERY_MS) refreshSoon();
  });
  live.addEventListener("news", () => {
    heard();
    refreshSoon();
  });
  // Only where the session is over does the page ask to sign in again: what somebody types here is lost with it.
  live.addEventListener("over", async () => {
    const answer = await fetch("/live/alerts", { headers: { Accept: "application/json" }, redirect: "manual" }).catch(() => null);
    if (answer?.status === 401) location.reload();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) heardAt = Date.now();
  });
  setInterval(() => {
    if (document.hidden || Date.now() - heardAt < SILENCE_MS) return;
    show("away", "not live since " + clock(heardAt));
    // Nothing where a connection is being tried already.
    htmx.trigger(live, "live:again");
  }, 2_000);
}

// A live part never shows a sign-in page, an error or nothing in its place.
document.addEventListener("htmx:before:response", (event) => {
  const ctx = event.detail.ctx;
  if (!ctx.sourceElement?.matches?.(".live-part, #standing")) return;
  const answer = ctx.response.raw;
  if (answer.status === 401 || answer.redirected) {
    event.preventDefault();
    location.reload();
  } else if (!answer.ok) {
    event.preventDefault();
  }
});

// Ages go on between two answers.
function age(seconds) {
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

const ahead = Number(document.body.dataset.now) - Date.now(); // Of the server's clock before ours.

function countAges() {
  const now = Date.now() + (Number.isFinite(ahead) ? ahead : 0);
  for (const each of document.querySelectorAll("time[data-age]")) {
    const text = age((now - Date.parse(each.dateTime)) / 1000);
    if (each.textContent !== text) each.textContent = text;
  }
  for (const each of document.querySelectorAll("time[data-until]")) {
    const text = age((Date.parse(each.dateTime) - now) / 1000);
    if (each.textContent !== text) each.textContent = text;
  }
}
setInterval(countAges, 1_000);

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    // No secure connection, or not allowed: the person copies what is selected now.
    const range = document.createRange();
    range.selectNodeContents(button.previousElementSibling ?? button);
    getSelection()?.removeAllRanges();
    getSelection()?.addRange(range);
    button.textContent = "selected";
  }
  setTimeout(() => (button.textContent = "copy"), 2_000);
}

function nextTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("console-theme", root.dataset.theme);
  } catch {
    // It lasts as long as the page.
  }
  document.dispatchEvent(new CustomEvent("console:theme"));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button");
  if (button?.dataset.copy !== undefined) copy(button);
  if (button?.dataset.does === "theme") nextTheme();
});

// Filters answer as soon as something is chosen; typed text waits for Enter.
document.addEventListener("change", (event) => {
  const form = event.target.closest?.("form[data-submits]");
  if (form && event.target.matches("select")) form.requestSubmit();
});

// The menu of a narrow screen is open on a wide one.
const menu = document.querySelector(".menu");
if (menu) {
  const wide = matchMedia("(min-width: 821px)");
  const set = () => (menu.open = wide.matches);
  wide.addEventListener("change", set);
  set();
}
