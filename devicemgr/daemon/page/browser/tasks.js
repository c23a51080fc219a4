// The running tasks, each under its nursery, with what it waits for and since when.

import { clock } from "./clock.js";
import { byId, make } from "./dom.js";
import { parts } from "./parts.js";
import { readable } from "./words.js";

export function drawTasks() {
  const root = parts.get("tasks");
  byId("tasks").replaceChildren(...(root ? [itemOf(root)] : [make("li", { class: "none", text: "None." })]));
  age();
}

function itemOf(node) {
  const item = make("li", { class: node.kind }, make("b", { text: readable(node.name, 200) }));
  if (node.state) item.append(" ", make("span", { class: "state", text: node.state }));
  if (node.cancelled) item.append(" ", make("span", { class: "state", text: "cancelled" }));
  if (node.waits_for) item.append(" ", make("span", { text: `waits for ${readable(node.waits_for, 200)}` }));
  if (node.since !== null || node.deadline !== null) {
    const ages = make("span");
    if (node.waits_for) ages.dataset.waits = "";
    if (node.since !== null) ages.dataset.since = node.since;
    if (node.deadline !== null) ages.dataset.deadline = node.deadline;
    item.append(ages);
  }
  if (node.children.length) item.append(make("ul", {}, ...node.children.map(itemOf)));
  return item;
}

// The server sends the tasks when they have changed; that time goes on is for the browser to see.
function age() {
  const now = clock.now();
  for (const ages of byId("tasks").querySelectorAll("[data-since], [data-deadline]")) {
    ages.textContent = timesOf(ages.dataset, now);
  }
}

setInterval(() => { if (!byId("view-tasks").hidden) age(); }, 1000);

/** As the command line has it: `, 3 s of 60 s`, without the part that is not known. */
function timesOf({ since, deadline, waits }, now) {
  const left = deadline === undefined ? "" : `${Math.max(deadline - now, 0).toFixed(0)} s`;
  if (since === undefined) return waits === undefined ? ` · ends within ${left}` : `, for ${left} more`;
  return `, ${Math.max(now - since, 0).toFixed(0)} s${left && ` of ${(deadline - since).toFixed(0)} s`}`;
}
