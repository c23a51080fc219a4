// The messages of a recorded trace: of the moment that somebody chooses, with a slider, by steps, or by playing it.
//
// While an answer is awaited the slider may move on. Then only the latest moment is asked for next.

import { byId } from "./dom.js";
import { say } from "./header.js";
import { readable } from "./words.js";

const SHORTEST = 0.05; // seconds from one step to the next, while it plays
const LONGEST = 1;

let receive = null;
let title = "";
let at = null;       // the moment that is shown
let playing = false;
let wanted = null;   // the question that is to be asked next
let asking = false;
let aim = null;      // the event that the latest question is about: keys may be faster than answers
let timer = 0;       // for the next step, while it plays

export function openTrace({ file, duration }, receiving) {
  receive = receiving;
  title = `Trace ${readable(file, 200)}`;
  byId("time").hidden = false;
  byId("slider").max = duration;
  byId("slider").step = "any";
  byId("slider").addEventListener("input", ({ target }) => {
    aim = null;
    ask(`seconds=${target.value}`);
  });
  byId("slider").addEventListener("keydown", moveByKey);
  byId("back").addEventListener("click", () => step(-1));
  byId("forth").addEventListener("click", () => step(1));
  byId("play").addEventListener("click", () => play(!playing));
  askFor(0);
}

function step(by) {
  if (at) askFor(Math.min(Math.max((aim ?? at.event) + by, 0), at.of));
}

function askFor(event) {
  aim = event;
  ask(`event=${event}`);
}

/** Keys move by events. By time they would not get past a long pause: the moment before its end is that of its begin. */
function moveByKey(event) {
  const many = Math.max(10, Math.round((at?.of ?? 0) / 20));
  const by = {
    ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: many, PageDown: -many, Home: -Infinity, End: Infinity,
  }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
}

function play(on) {
  clearTimeout(timer);
  playing = on;
  byId("play").textContent = on ? "Pause" : "Play";
  if (on && at?.event === at?.of) askFor(0);
  else if (on) step(1);
}

async function ask(question) {
  wanted = question;
  if (asking) return;
  asking = true;
  while (wanted !== null) {
    const now = wanted;
    wanted = null;
    clearTimeout(timer); // it goes on from what is asked for now: the slider may be moved while it plays
    const answer = await answerTo(now);
    if (answer) show(answer, now.startsWith("seconds="));
  }
  asking = false;
  aim = null;
}

/** Null if the page is not served any more. */
async function answerTo(question) {
  try {
    const answer = await (await fetch(`at?${question}`)).json();
    say("trace", title);
    return answer;
  } catch {
    say("lost", "The page is not served any more.");
    return null;
  }
}

const missingInWords = (number) => `The trace does not have ${number === 1 ? "one event" : `${number} events`} before this moment. `
  + "What only they record is not shown: plug-ins, pods, and what these hold, so a device that looks free may be held.";

/** The slider stays where somebody has put it: that is a moment, too, if nothing happened then. */
function show(answer, isPlaced) {
  at = answer.moment;
  receive(answer);
  const { event, of, seconds, has_times, next, what, missing } = at;
  byId("missing").hidden = missing === 0;
  byId("missing").textContent = missing === 0 ? "" : missingInWords(missing);
  if (!isPlaced) byId("slider").value = seconds;
  const [place, when] = [`event ${event} of ${of}`, seconds.toFixed(3)];
  byId("slider").setAttribute("aria-valuetext", has_times ? `${when} seconds, ${place}` : place);
  byId("moment").textContent = [has_times && `${when} s`, place, readable(what) || "Press Play, or move the slider."].filter(Boolean).join(" · ");
  if (!playing) return;
  clearTimeout(timer);
  if (event === of) play(false);
  else timer = setTimeout(() => step(1), 1000 * Math.min(Math.max(next, SHORTEST), LONGEST));
}
