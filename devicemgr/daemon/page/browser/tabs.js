// One view at a time: events, conversation, tasks, faults. What nobody sees is not drawn, so it is when its tab opens.

import { byId } from "./dom.js";
import { toDraw } from "./parts.js";

const tabs = [...byId("tabs").children];

function openTab(tab) {
  for (const one of tabs) {
    one.setAttribute("aria-selected", String(one === tab));
    one.tabIndex = one === tab ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = one !== tab;
  }
  toDraw("events", "tasks");
}

byId("tabs").addEventListener("click", ({ target }) => { if (tabs.includes(target)) openTab(target); });
byId("tabs").addEventListener("keydown", ({ target, key }) => {
  const there = tabs.filter((tab) => !tab.hidden);
  const at = there.indexOf(target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[key];
  if (to === undefined) return;
  const next = there.at(to % there.length);
  openTab(next);
  next.focus();
});
