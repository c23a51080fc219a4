// The page: it draws what the server has computed, and decides nothing.
//
// The server sends the state in parts, all of them at first and then those that have changed, and the events. What has
// changed is drawn once per frame, however much comes. Every text is set as text: the page's policy (Trusted Types) does
// not let a script make markup of one.
//
// page.js           begins, and draws what has changed
// live.js           the messages of a running manager
// trace.js          those of a recorded trace, by a slider
// parts.js          the parts of the state, and which of them are to be drawn
// clock.js          the manager's time
// pods.js           the pods, each with its letter and colour
// resources.js      the resources, each with its devices by NUMA nodes
// cells.js          a device as a cell, or very many of them as a bar
// detail.js         what a device is, and how arrow keys move between the cells
// announcement.js   what has changed, for those who do not see it
// events.js         the events, with filters
// conversation.js   who called whom
// lines.js          of a list of lines, the newest or the one that somebody has chosen
// rules.js          the rules of the book that explain it
// tasks.js          the running tasks
// tabs.js           one of these three at a time
// faults.js         forms that inject faults
// header.js         whether the server is there
// dom.js            making elements, and putting them in their places
// words.js          what others have chosen, as text that can be read

import { clock } from "./clock.js";
import { drawTalk } from "./conversation.js";
import { byId } from "./dom.js";
import { drawEvents, takeEvents } from "./events.js";
import { offerFaults } from "./faults.js";
import { say } from "./header.js";
import { follow } from "./live.js";
import { drawEachFrame, takeParts } from "./parts.js";
import { drawPods } from "./pods.js";
import { drawResources } from "./resources.js";
import { readBook } from "./rules.js";
import "./tabs.js";
import { drawTasks } from "./tasks.js";
import { openTrace } from "./trace.js";

function receive(message) {
  clock.set(message);
  takeParts(message);
  takeEvents(message);
}

drawEachFrame((changed) => {
  drawPods(changed);
  drawResources(changed);
  if (changed.has("events")) {
    drawEvents();
    if (!byId("view-talk").hidden) drawTalk();
  }
  if (changed.has("tasks") && !byId("view-tasks").hidden) drawTasks();
});

async function begin() {
  const about = await (await fetch("about")).json();
  if (about.mode === "trace") return openTrace(about, receive);
  offerFaults(about);
  return follow(receive);
}

readBook();
begin().catch(() => say("lost", "The manager is not reached."));
