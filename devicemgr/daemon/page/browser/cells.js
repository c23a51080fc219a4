// A device as a cell: its state is a letter and a sign as well as a colour, as the legend in page.html says. Very many
// devices are one bar.

import { refreshDetail } from "./detail.js";
import { make } from "./dom.js";
import { hueOf, isChosen, labelOf, nameOf, podOf } from "./pods.js";
import { readable } from "./words.js";

const WORDS = { f: "free", h: "held", u: "unhealthy", x: "unhealthy, held", "?": "health unknown, held" };
const SIGNS = { f: "", u: "×" };

export function newCell(id, where, resource) {
  const cell = make("span", { class: "cell", role: "option", tabindex: "-1" });
  cell.device = { id, where, resource, state: null, holder: null, what: "" };
  return cell;
}

/** `owner` is the uid of a pod and the name of its container, if the device is held. Returns whether something has changed
 *  that was drawn before. */
export function drawCell(cell, state, owner) {
  const device = cell.device;
  const pod = owner ? podOf(owner[0]) : null;
  const holder = owner ? `${owner[0]} ${owner[1]} ${pod?.number}` : null;
  cell.classList.toggle("chosen", Boolean(owner) && isChosen(owner[0]));
  if (device.state === state && device.holder === holder) return false;
  const isNew = device.state === null;
  Object.assign(device, { state, holder, what: wordsOf(state, owner, pod) });
  cell.dataset.state = state;
  cell.classList.toggle("held", Boolean(owner));
  cell.textContent = owner ? (pod ? labelOf(pod.number) : "…") : SIGNS[state] ?? "";
  if (pod) cell.style.setProperty("--hue", hueOf(pod.number));
  else cell.style.removeProperty("--hue");
  cell.setAttribute("aria-label", `${readable(device.id)}, ${device.what}`);
  refreshDetail(cell);
  return !isNew;
}

function wordsOf(state, owner, pod) {
  if (!owner) return WORDS[state];
  const holder = pod ? `pod ${labelOf(pod.number)}, ${nameOf(pod)}` : "a pod that is being admitted";
  return `${WORDS[state]} by ${holder}, container ${readable(owner[1])}`;
}

/** Another animation begins, also where the one before has not ended. Who wants less motion gets none: see page.css. */
export function flash(cell) {
  cell.dataset.flash = cell.dataset.flash === "odd" ? "even" : "odd";
}

/** How many devices of a group are in which state. */
export function drawBar({ bar, sizes, where }, states) {
  const counts = {};
  for (const state of states) counts[state] = (counts[state] ?? 0) + 1;
  const present = Object.keys(WORDS).filter((state) => counts[state]);
  bar.replaceChildren(...present.map((state) => {
    const piece = make("span", { "data-state": state });
    piece.style.setProperty("width", `${(100 * counts[state]) / states.length}%`);
    return piece;
  }));
  sizes.textContent = present.map((state) => `${counts[state]} ${WORDS[state]}`).join(" · ");
  bar.setAttribute("aria-label", `${where}: ${sizes.textContent}`);
}
