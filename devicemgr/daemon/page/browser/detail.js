// What a device is, in words, and how somebody gets to it: the mouse, or the arrow keys, which move between the cells.

import { byId } from "./dom.js";
import { readable } from "./words.js";

let shown = null;  // a cell
let isHint = true; // nobody has chosen one yet

/** Until somebody chooses a device, the line says how. */
export function hint(areDevicesThere) {
  if (!isHint) return;
  byId("detail").textContent = areDevicesThere
    ? "Choose a device to see here what it is; arrow keys move between the cells."
    : "No device yet.";
}

export function showDetail(cell) {
  shown = cell;
  isHint = false;
  const { id, resource, where, what } = cell.device;
  byId("detail").textContent = `${readable(id, 200)} · ${resource} · ${where} · ${what}`;
}

/** What the device is has changed. */
export function refreshDetail(cell) {
  if (cell === shown) showDetail(cell);
}

/** The device whose details are shown, if it is one of these cells. */
export const shownAmong = (cells) => (shown && cells.includes(shown) ? shown.device : null);

export function sayGone({ id, resource }) {
  shown = null;
  byId("detail").textContent = `${readable(id, 200)} · ${resource} · not there any more`;
}

/** One cell of each group is in the order of the Tab key: the last one that was visited. */
export function moveTo(cell) {
  for (const other of cell.parentElement.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  cell.tabIndex = 0;
  cell.focus();
}

function neighbour(cell, key) {
  const { firstElementChild: first, lastElementChild: last } = cell.parentElement;
  switch (key) {
    case "ArrowRight": return cell.nextElementSibling;
    case "ArrowLeft": return cell.previousElementSibling;
    case "Home": return first;
    case "End": return last;
    case "ArrowDown": return inNextRow(cell, "nextElementSibling");
    case "ArrowUp": return inNextRow(cell, "previousElementSibling");
    default: return null;
  }
}

function inNextRow(cell, direction) {
  let other = cell[direction];
  while (other && !(other.offsetTop !== cell.offsetTop && Math.abs(other.offsetLeft - cell.offsetLeft) < 4)) {
    other = other[direction];
  }
  return other;
}

byId("resources").addEventListener("focusin", ({ target }) => { if (target.device) showDetail(target); });
byId("resources").addEventListener("mouseover", ({ target }) => { if (target.device) showDetail(target); });
byId("resources").addEventListener("click", ({ target }) => { if (target.device) moveTo(target); });
byId("resources").addEventListener("keydown", (event) => {
  const to = event.target.device && neighbour(event.target, event.key);
  if (!to) return;
  event.preventDefault();
  moveTo(to);
});
