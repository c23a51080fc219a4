// Who called whom: what the events tell, as a sequence diagram that grows at its end; below it, the rule that explains the
// chosen line.
//
// A row is made once, and stays until it is too old: somebody may have chosen it. Where it begins and ends is arranged again
// when other lifelines are there.

import { clock } from "./clock.js";
import { byId, make, place } from "./dom.js";
import { events } from "./events.js";
import { Lines, newLine } from "./lines.js";
import { inWords } from "./rules.js";

const MOST_ROWS = 300;
const MOST_PLUGINS = 20; // with a lifeline of their own: those that have spoken last. All others share one
const MANAGER = JSON.stringify(["manager", ""]);
const OTHERS = JSON.stringify(["other plug-ins", ""]);

let drawn = [];      // items, the oldest first
let lifelines = [];  // from left to right
let began = 0;       // when the first one of all was said
let inSight = null;  // a row

const rows = new WeakMap();  // by item
const rules = new WeakMap(); // by row
const lines = new Lines(byId("talk"), "last", byId("talk-rule"), (row) => inWords(rules.get(row)));

export function drawTalk() {
  const said = events.flatMap((event) => event.said).slice(-MOST_ROWS);
  if (!drawn.includes(said[0])) began = clock.began() ?? said[0]?.time ?? 0; // as the slider counts
  drawn = said;
  const scroll = byId("talk-scroll");
  const atEnd = scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight - 20;
  const there = lifelinesOf(said);
  const areOthers = there.join() !== lifelines.join();
  if (areOthers) drawLifelines(there);
  for (const one of said) {
    if (areOthers || !rows.has(one)) arrange(rowOf(one), one);
  }
  byId("talk-none").hidden = said.length > 0;
  place(byId("talk"), said.map((one) => rows.get(one)));
  lines.update();
  if (!lines.isFollowing) return;
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  bringIntoSight(lines.chosen);
}

byId("talk").addEventListener("focusin", () => bringIntoSight(lines.chosen));

/** In a narrow window some lifelines are out of sight. */
function bringIntoSight(row) {
  if (!row || row === inSight) return;
  inSight = row;
  const [inner, outer] = [row.lastElementChild, byId("talk-scroll")].map((one) => one.getBoundingClientRect());
  if (inner.left < outer.left || inner.right > outer.right) byId("talk-scroll").scrollLeft += inner.left - outer.left - 8;
}

/** Plug-ins, the manager, and callers, in this order. */
function lifelinesOf(said) {
  const ends = said.flatMap((one) => (one.from ? [one.from, one.to] : [])).reverse();
  const keysOf = (some) => [...new Set(some.map((line) => JSON.stringify(line)))];
  const plugins = keysOf(ends.filter(isPlugin));
  const shared = plugins.length > MOST_PLUGINS ? [OTHERS] : [];
  const callers = keysOf(ends.filter((line) => !isPlugin(line))).filter((key) => key !== MANAGER);
  return [...shared, ...plugins.slice(0, MOST_PLUGINS).sort(), MANAGER, ...callers.sort()];
}

const isPlugin = ([, resource]) => resource !== "";

function drawLifelines(there) {
  lifelines = there;
  const scroll = byId("talk-scroll");
  scroll.style.setProperty("--lines", there.length);
  scroll.style.setProperty("--halves", 2 * there.length);
  const names = there.map((key) => make("b", { text: nameOf(JSON.parse(key)) }));
  byId("lifelines").replaceChildren(make("span"), ...names);
}

const nameOf = ([name, resource]) => (resource ? `${name} [${resource}]` : name);

function arrange(row, one) {
  const place = row.lastElementChild;
  if (!one.from) {
    place.style.gridColumn = `${2 * lifelines.indexOf(MANAGER) + 2} / span 2`;
    return;
  }
  const own = [one.from, one.to].map((line) => lifelines.indexOf(JSON.stringify(line)));
  const [from, to] = own.map((column) => (column < 0 ? lifelines.indexOf(OTHERS) : column));
  place.style.gridColumn = `${2 * Math.min(from, to) + 3} / ${2 * Math.max(from, to) + 3}`;
  place.classList.toggle("right", from < to);
  place.classList.toggle("left", from > to);
  place.firstElementChild.classList.toggle("hidden", !own.includes(-1)); // its lifelines say who it is
}

function rowOf(one) {
  if (!rows.has(one)) {
    const time = make("time", { text: one.time === null ? "" : `${(one.time - began).toFixed(3)} s` });
    const row = newLine(make("li", { role: "option" }, time, one.from ? newArrow(one) : newNote(one)));
    rows.set(one, row);
    rules.set(row, one.rule ? [one.rule] : []);
  }
  return rows.get(one);
}

const newNote = (one) => make("div", { class: one.failed ? "note failed" : "note", text: one.text });

function newArrow(one) {
  const kind = ["said", one.reply && "reply", one.failed && "failed"].filter(Boolean).join(" ");
  const arrow = make("div", { class: kind }, make("span", { text: `${nameOf(one.from)} to ${nameOf(one.to)}: ` }), one.text);
  if (one.answer !== undefined) arrow.append(make("small", { text: one.answer }));
  return arrow;
}
