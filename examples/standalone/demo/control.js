"use strict";

const state = document.getElementById("state");
const closed = document.querySelector("button[data-closed]");
const buttons = document.querySelectorAll("button[data-fault]");

async function refresh() {
  try {
    const response = await fetch("/state");
    if (!response.ok) throw new Error(response.statusText);
    state.innerHTML = await response.text();
    const now = document.getElementById("now").dataset;
    const fault = now.fault;
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.fault === fault));
    closed.setAttribute("aria-pressed", now.closed);
    closed.form.action = now.closed === "true" ? "/maintenance/off" : "/maintenance/on";
  } catch {
    state.textContent = "The demonstration has ended.";
  }
}

for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const response = await fetch(form.action, { method: "POST" }).catch(() => null);
    if (response && !response.ok) alert(await response.text());
    refresh();
  });
}

(async () => {
  for (;;) {
    await refresh();
    await new Promise((done) => setTimeout(done, 500));
  }
})();
