// What was typed for an act is not lost to the second factor that it asks for: it waits in this tab, and in no other place,
// until the page that it was typed on is there again. The person looks at that page anew and sends it. Never a password.

const KEY = "console-typed";
const SECRETS = "[type=password], [autocomplete=one-time-code], [autocomplete*=password]";
const ELSEWHERE = /^\/(login|logout|enrol|welcome)(\/|$)/; // Ways in: what is typed there is nobody else's to keep.

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}

function keep(typed) {
  try {
    if (typed) sessionStorage.setItem(KEY, JSON.stringify(typed));
    else sessionStorage.removeItem(KEY);
  } catch {
    // No storage: it is typed again.
  }
}

const path = (form) => new URL(form.action).pathname;
const fields = (form) => [...form.elements].filter((each) => each.name && each.type !== "hidden" && each.type !== "submit");

// Two forms are the same only where they act on the same thing: never what was typed for one in the other's fields.
function identity(form) {
  const hidden = [...form.querySelectorAll("input[type=hidden]:not([data-fresh])")];
  return JSON.stringify([location.pathname, path(form), hidden.map((each) => [each.name, each.value])]);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (ELSEWHERE.test(path(form)) || form.querySelector(SECRETS)) {
    if (path(form) === "/logout") keep(null);
    return;
  }
  const values = fields(form).map((each) => ({ name: each.name, value: each.value, checked: each.checked === true }));
  keep({ form: identity(form), values });
});

function giveBack(form, values) {
  const left = [...values];
  for (const field of fields(form)) {
    const choice = field.type === "checkbox" || field.type === "radio";
    const at = left.findIndex((each) => each.name === field.name && (!choice || each.value === field.value));
    if (at < 0) continue;
    const [found] = left.splice(at, 1);
    if (choice) field.checked = found.checked;
    else if (field.tagName !== "SELECT" || [...field.options].some((each) => each.value === found.value)) field.value = found.value;
  }
  const told = document.createElement("p");
  told.setAttribute("role", "status");
  told.textContent = "Nothing was done yet. What you had typed is here again: look once more, then send it.";
  form.prepend(told);
  form.querySelector("button:not([type=button])")?.focus();
}

const typed = read();
if (typed && document.querySelector(".step-up")) {
  keep({ ...typed, asked: true });
} else if (typed) {
  keep(null);
  const form = typed.asked ? [...document.forms].find((each) => each.method === "post" && identity(each) === typed.form) : null;
  if (form) giveBack(form, typed.values);
}
