// The events, the newest first, with filters; below them, the rules that explain the chosen one.

import { byId, make, place } from "./dom.js";
import { Lines, newLine } from "./lines.js";
import { toDraw } from "./parts.js";
import { inWords } from "./rules.js";
import { readable } from "./words.js";

const MOST_EVENTS = 1000; // kept here
const MOST_ROWS = 300;    // of these, shown
const MOST_TYPES = 200;   // to choose from; the manager has fewer, but a trace may have been written by anybody
const SEVERITIES = ["debug", "info", "warning"];
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});
const LATEST = 8.64e12; // seconds; later ones are no dates in JavaScript

export const events = []; // the oldest first
let shownLog = null; // which log they are of; null for a trace
const types = new Set();
const rows = new WeakMap();  // by event, each made once
const texts = new WeakMap(); // by event, what a text is looked for in
const ids = new WeakMap();   // by row, those of its rules
const lines = new Lines(byId("event-rows"), "first", byId("event-rule"), (row) => inWords(ids.get(row)));

/** The first message has the newest ones. Those that were there before stay the same objects, and so do their rows: of a
 *  trace every message is the first one, and the moments beside each other have almost the same events. Of a running manager,
 *  whose messages name its log, older ones stay as well: a tab that was hidden begins again. */
export function takeEvents({ first, events: news, log = null }) {
  if (!first && !news.length) return;
  if (first) begin(news, log);
  else events.push(...news);
  events.splice(0, events.length - MOST_EVENTS);
  for (const { event } of news) offerType(event);
  toDraw("events");
}

function begin(news, log) {
  const isSameLog = log !== null && log === shownLog;
  const before = new Map(events.map((one) => [one.sequence, one]));
  const older = isSameLog ? events.filter((one) => !news.length || one.sequence < news[0].sequence) : [];
  const isSame = (old, one) => isSameLog || JSON.stringify(old) === JSON.stringify(one);
  const newer = news.map((one) => {
    const old = before.get(one.sequence);
    return old && isSame(old, one) ? old : one;
  });
  events.splice(0, events.length, ...older, ...newer);
  shownLog = log;
}

function offerType(event) {
  if (types.has(event) || types.size >= MOST_TYPES) return;
  types.add(event);
  byId("filter-type").append(make("option", { value: event, text: readable(event) }));
}

export function drawEvents() {
  const matches = filter();
  const shown = [];
  let areFound = false;
  let at = events.length - 1;
  for (; at >= 0 && shown.length < MOST_ROWS; at--) {
    const one = events[at];
    if (matches(one)) {
      shown.push(rowOf(one));
      areFound = true;
    }
    const missing = at > 0 ? one.sequence - events[at - 1].sequence - 1 : 0;
    if (missing > 0) shown.push(newRemark(`… ${missing} more`));
  }
  if (!areFound) shown.unshift(newRemark(events.length ? "No event matches." : "No event yet."));
  const earlier = at >= 0 ? events[at].sequence : (events[0]?.sequence ?? 1) - 1;
  if (earlier > 0) shown.push(newRemark(`… ${earlier} earlier ${earlier === 1 ? "event" : "events"}, not shown`));
  place(byId("event-rows"), shown);
  lines.update();
}

const newRemark = (text) => make("tr", {}, make("td", { class: "none", colspan: "5", text }));

function filter() {
  const text = byId("filter-text").value.toLowerCase();
  const type = byId("filter-type").value;
  const least = SEVERITIES.indexOf(byId("filter-severity").value);
  return (one) =>
    (!type || one.event === type) && SEVERITIES.indexOf(one.severity) >= least && (!text || textOf(one).includes(text));
}

function textOf(one) {
  if (!texts.has(one)) texts.set(one, `${one.event} ${rulesOf(one).join(" ")} ${whatOf(one)}`.toLowerCase());
  return texts.get(one);
}

function rowOf(one) {
  if (!rows.has(one)) rows.set(one, newRow(one));
  return rows.get(one);
}

function newRow(one) {
  const rules = rulesOf(one);
  const time = one.time === null || Math.abs(one.time) > LATEST ? "" : CLOCK.format(one.time * 1000);
  const cells = [one.sequence, time, readable(one.event), rules.join(", "), whatOf(one)];
  const row = newLine(make("tr", { "data-severity": one.severity }, ...cells.map((value) => make("td", { text: value }))));
  ids.set(row, rules);
  return row;
}

/** Those of all that the event tells. */
const rulesOf = (one) => [...new Set(one.said.map(({ rule }) => rule).filter(Boolean))];

function whatOf({ sequence, time, event, severity, level, said, ...rest }) {
  return readable(Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(" "), 400);
}

byId("filters").addEventListener("input", () => toDraw("events"));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
