// For those who do not see it: the newest summary of each resource that has changed, at most every three seconds.

import { byId } from "./dom.js";

const PERIOD = 3000;      // milliseconds
const MOST_AT_ONCE = 3;

const summaries = new Map(); // by resource: what was said, and what is to be said
let announcing = false;

export function announce(name, text) {
  const before = summaries.get(name);
  summaries.set(name, { said: before ? before.said : text, now: text });
  if (announcing) return;
  announcing = true;
  setTimeout(sayNews, PERIOD);
}

export function announceNothingMore(name) {
  summaries.delete(name);
}

function sayNews() {
  announcing = false;
  const news = [...summaries.values()].filter(({ said, now }) => said !== now);
  for (const one of news) one.said = one.now;
  if (news.length) byId("announcement").textContent = news.slice(0, MOST_AT_ONCE).map(({ now }) => now).join(". ");
}
