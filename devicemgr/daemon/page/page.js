// Draws what the server computed. Nothing is decided here, and every text is set as text: the page's policy does not let
// a script make markup of one.

const MANY = 150;          // cells of a group, from which on they are small
const TOO_MANY = 2000;     // cells of a group, from which on they are shown as a bar, until somebody asks for them
const MOST_EVENTS = 1000;  // kept here
const MOST_ROWS = 300;     // of these, shown
const SEVERITIES = ["debug", "info", "warning"];
const WORDS = { f: "free", h: "held", u: "unhealthy", x: "held, unhealthy", "?": "held, health unknown" };
const SIGNS = { f: "", u: "×" };

const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// --- what the server has said ---------------------------------------------------------------------------------------

const parts = new Map();
const resources = new Map(); // by name, what is drawn of each
let pods = new Map();        // by uid
let changed = new Set();     // the names of parts that are not drawn yet
let drawing = false;

function receive(message) {
  if (message.now) clocksDiffer = message.now - Date.now() / 1000;
  const gone = new Set(message.gone);
  if (message.first) {
    for (const name of parts.keys()) if (!(name in message.parts)) gone.add(name);
    events.clear();
  }
  for (const [name, value] of Object.entries(message.parts)) {
    if (message.first && JSON.stringify(parts.get(name)) === JSON.stringify(value)) continue;
    parts.set(name, value);
    changed.add(name);
  }
  for (const name of gone) {
    parts.delete(name);
    changed.add(name);
  }
  events.add(message.events);
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  drawing = false;
  const now = changed;
  changed = new Set();
  const podsChanged = [...now].some((name) => name === "pods" || name.startsWith("pod "));
  if (podsChanged) drawPods();
  if (now.has("resources")) placeResources();
  for (const [name, resource] of resources) {
    if (now.has(`resource ${name}`)) resource.drawCounts();
    if (now.has(`devices ${name}`)) resource.placeCells();
    else if (podsChanged || now.has(`states ${name}`) || now.has(`held ${name}`)) resource.drawCells();
  }
  events.draw();
  if (now.has("tasks")) drawTasks();
}

// --- pods -------------------------------------------------------------------------------------------------------------

// 0 is A, 25 is Z, 26 is AA.
function labelOf(number) {
  return (number > 25 ? labelOf(Math.floor(number / 26) - 1) : "") + String.fromCharCode(65 + (number % 26));
}

// Hues of successive numbers are far apart.
const hueOf = (number) => Math.round((250 + number * 137.508) % 360);

const nameOf = (pod) => (pod.name ? `${pod.namespace}/${pod.name}` : `uid ${pod.uid}`);

let chosenPod = null;

function drawPods() {
  const list = byId("pod-list");
  pods = new Map((parts.get("pods") ?? []).map((uid) => [uid, parts.get(`pod ${uid}`)]));
  if (!pods.has(chosenPod)) chosenPod = null;
  const focused = document.activeElement?.closest(".pod")?.dataset.uid;
  list.replaceChildren(...[...pods.values()].map(podItem));
  if (focused !== undefined) [...list.children].find((item) => item.dataset.uid === focused)?.firstChild.focus();
  if (!pods.size) list.append(make("li", { class: "none", text: "No pod is admitted." }));
}

function podItem(pod) {
  const sign = make("span", { class: "cell held", "aria-hidden": "true", text: labelOf(pod.number) });
  sign.style.setProperty("--hue", hueOf(pod.number));
  const button = make("button", { type: "button", "aria-pressed": String(pod.uid === chosenPod) }, sign);
  button.append(make("b", { text: nameOf(pod) }));
  button.setAttribute("aria-label", `Pod ${labelOf(pod.number)}, ${nameOf(pod)}: show its devices`);
  button.addEventListener("click", () => {
    chosenPod = chosenPod === pod.uid ? null : pod.uid;
    drawPods();
    for (const resource of resources.values()) resource.drawCells();
  });
  const item = make("li", { class: "pod" }, button);
  item.dataset.uid = pod.uid;
  const lines = pod.containers.map((container) => make("li", { text: containerLine(pod, container) }));
  item.append(make("ul", {}, ...lines));
  return item;
}

function containerLine(pod, container) {
  const held = [];
  for (const name of parts.get("resources") ?? []) {
    for (const [uid, owner, ids] of parts.get(`held ${name}`) ?? []) {
      if (uid === pod.uid && owner === container.name) held.push(`${name}: ${some(ids)}`);
    }
  }
  const kind = container.kind === "main" ? "" : ` (${container.kind})`;
  return `${container.name}${kind}: ${held.join("; ") || "no devices"}`;
}

const some = (ids) => ids.slice(0, 8).join(", ") + (ids.length > 8 ? ` and ${ids.length - 8} more` : "");

// --- devices ----------------------------------------------------------------------------------------------------------

function placeResources() {
  const names = parts.get("resources") ?? [];
  for (const name of [...resources.keys()]) {
    if (!names.includes(name)) {
      resources.get(name).section.remove();
      resources.delete(name);
    }
  }
  for (const name of names) {
    if (!resources.has(name)) resources.set(name, new Resource(name));
    byId("resources").append(resources.get(name).section);
  }
  byId("resource-names").replaceChildren(...names.map((name) => make("option", { value: name })));
}

class Resource {
  constructor(name) {
    this.name = name;
    this.cells = [];       // in the order of the states; null where a group is a bar
    this.unfolded = false; // does somebody want to see each of very many?
    this.counts = make("p");
    this.groups = make("div", { class: "groups" });
    this.section = make("section", { class: "resource", "aria-label": name });
    this.section.append(make("h3", { text: name }), this.counts, this.groups);
  }

  drawCounts() {
    const it = parts.get(`resource ${this.name}`);
    if (!it) return;
    const by = it.endpoint === "node" ? "the node has it without a plug-in" : `plug-in ${it.socket || "not back yet"}: ${it.endpoint}`;
    const standbys = it.standbys.length ? `, ${it.standbys.join(", ")} on stand-by` : "";
    const text = `capacity ${it.capacity}, allocatable ${it.allocatable}, held ${it.allocated}, available ${it.available}; ${by}${standbys}`;
    this.counts.textContent = text;
    this.counts.dataset.endpoint = it.endpoint;
    announce(this.name, `${this.name}: ${it.allocatable} of ${it.capacity} healthy, ${it.allocated} held, ${it.endpoint}`);
  }

  placeCells() {
    const groups = parts.get(`devices ${this.name}`) ?? [];
    this.cells = [];
    this.bars = [];
    this.groups.replaceChildren(...groups.map(([nodes, ids]) => this.placeGroup(nodes, ids)));
    this.drawCells();
  }

  placeGroup(nodes, ids) {
    const where = nodes ? `NUMA node${nodes.length > 1 ? "s" : ""} ${nodes.join(", ")}` : "without NUMA node";
    const group = make("div", { class: "group" }, make("h4", { text: `${where} · ${ids.length}` }));
    if (ids.length > TOO_MANY && !this.unfolded) {
      const bar = make("div", { class: "bar", role: "img" });
      const sizes = make("p", { class: "sizes" });
      const each = make("button", { type: "button", text: "Show each device" });
      each.addEventListener("click", () => { this.unfolded = true; this.placeCells(); });
      group.append(bar, sizes, each);
      this.bars.push({ bar, sizes, where, begin: this.cells.length, end: this.cells.length + ids.length });
      for (let i = 0; i < ids.length; i++) this.cells.push(null);
      return group;
    }
    const list = make("div", { class: "cells", role: "listbox", "aria-label": `${this.name}, ${where}` });
    list.classList.toggle("many", ids.length > MANY);
    for (const id of ids) {
      const cell = make("span", { class: "cell", role: "option", tabindex: "-1" });
      cell.device = { id, where, resource: this.name, state: null, owner: null };
      this.cells.push(cell);
      list.append(cell);
    }
    if (list.firstChild) list.firstChild.tabIndex = 0;
    group.append(list);
    return group;
  }

  drawCells() {
    const states = parts.get(`states ${this.name}`) ?? "";
    const owners = new Map();
    for (const [uid, container, ids] of parts.get(`held ${this.name}`) ?? []) {
      for (const id of ids) owners.set(id, [uid, container]);
    }
    this.cells.forEach((cell, i) => { if (cell) drawCell(cell, states[i], owners.get(cell.device.id)); });
    for (const bar of this.bars ?? []) drawBar(bar, states.slice(bar.begin, bar.end));
  }
}

function drawCell(cell, state, owner) {
  const device = cell.device;
  const pod = owner ? pods.get(owner[0]) : null;
  const holder = owner ? `${owner[0]} ${owner[1]} ${pod?.number}` : null;
  cell.classList.toggle("chosen", chosenPod !== null && owner?.[0] === chosenPod);
  if (device.state === state && device.holder === holder) return;
  if (device.state !== null && !stillMotion.matches) flash(cell);
  Object.assign(device, { state, holder });
  device.what = owner
    ? `${WORDS[state]} by ${pod ? `pod ${labelOf(pod.number)}, ${nameOf(pod)}` : "a pod that is being admitted"}, container ${owner[1]}`
    : WORDS[state];
  cell.dataset.state = state;
  cell.classList.toggle("held", Boolean(owner));
  cell.textContent = owner ? (pod ? labelOf(pod.number) : "…") : SIGNS[state] ?? "";
  if (pod) cell.style.setProperty("--hue", hueOf(pod.number));
  cell.setAttribute("aria-label", `${device.id}, ${device.what}`);
  if (cell === shown) showDetail(cell);
}

const stillMotion = matchMedia("(prefers-reduced-motion: reduce)");

function flash(cell) {
  for (const running of cell.getAnimations()) running.cancel();
  cell.classList.remove("changed");
  requestAnimationFrame(() => cell.classList.add("changed"));
}

function drawBar({ bar, sizes, where }, states) {
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

let shown = null; // the cell whose details are shown

function showDetail(cell) {
  shown = cell;
  const { id, resource, where, what } = cell.device;
  byId("detail").textContent = `${id} · ${resource} · ${where} · ${what}`;
}

byId("resources").addEventListener("focusin", ({ target }) => { if (target.device) showDetail(target); });
byId("resources").addEventListener("mouseover", ({ target }) => { if (target.device) showDetail(target); });
byId("resources").addEventListener("click", ({ target }) => { if (target.device) moveTo(target); });
byId("resources").addEventListener("keydown", (event) => {
  const cell = event.target;
  if (!cell.device) return;
  const to = neighbour(cell, event.key);
  if (to) {
    event.preventDefault();
    moveTo(to);
  }
});

// One cell of each group is in the order of the Tab key: the last one that was visited.
function moveTo(cell) {
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

// --- for those who do not see it: the newest summary of each resource, at most every three seconds --------------------

const summaries = new Map(); // by resource: what was said, and what is to be said
let announcing = false;

function announce(name, text) {
  const before = summaries.get(name);
  summaries.set(name, { said: before ? before.said : text, now: text });
  if (announcing) return;
  announcing = true;
  setTimeout(() => {
    announcing = false;
    const news = [...summaries.values()].filter(({ said, now }) => said !== now);
    for (const one of news) one.said = one.now;
    if (news.length) byId("announcement").textContent = news.slice(0, 3).map(({ now }) => now).join(". ");
  }, 3000);
}

// --- events -----------------------------------------------------------------------------------------------------------

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

const events = {
  all: [],
  types: new Set(),
  dirty: false,

  clear() {
    this.all = [];
    this.dirty = true;
  },

  add(news) {
    if (!news.length) return;
    this.all.push(...news);
    this.all.splice(0, this.all.length - MOST_EVENTS);
    this.dirty = true;
    for (const { event } of news) {
      if (!this.types.has(event)) {
        this.types.add(event);
        byId("filter-type").append(make("option", { value: event, text: event }));
      }
    }
  },

  draw() {
    if (!this.dirty) return;
    this.dirty = false;
    drawTalk(this.all);
    const text = byId("filter-text").value.toLowerCase();
    const type = byId("filter-type").value;
    const least = SEVERITIES.indexOf(byId("filter-severity").value);
    const rows = [];
    for (let i = this.all.length - 1; i >= 0 && rows.length < MOST_ROWS; i--) {
      const one = this.all[i];
      const what = whatOf(one);
      if (type && one.event !== type) continue;
      if (SEVERITIES.indexOf(one.severity) < least) continue;
      if (text && !`${one.event} ${what}`.toLowerCase().includes(text)) continue;
      const time = CLOCK.format(one.time * 1000);
      const cells = [one.sequence, time, one.event, what].map((value) => make("td", { text: value }));
      rows.push(make("tr", { "data-severity": one.severity }, ...cells));
      const before = this.all[i - 1];
      if (before && one.sequence > before.sequence + 1) {
        rows.push(make("tr", {}, make("td", { colspan: "4", text: `… ${one.sequence - before.sequence - 1} more` })));
      }
    }
    byId("event-rows").replaceChildren(...rows);
  },
};

function whatOf({ sequence, time, event, severity, said, ...rest }) {
  const text = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(" ");
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

byId("filters").addEventListener("input", () => { events.dirty = true; events.draw(); });
byId("filters").addEventListener("submit", (event) => event.preventDefault());

// --- the conversation -------------------------------------------------------------------------------------------------

let drawnTalk = [];  // what is drawn: a growing conversation is continued, any other one is drawn again
let drawnLines = "";

function drawTalk(all) {
  if (byId("view-talk").hidden) return;
  const said = all.flatMap((event) => event.said).slice(-MOST_ROWS);
  const keys = [...new Set(said.flatMap((one) => (one.from ? [one.from, one.to] : [])).map((line) => JSON.stringify(line)))];
  const order = (key) => (JSON.parse(key)[1] ? 0 : key === '["manager",""]' ? 1 : 2); // plug-ins, manager, callers
  const lines = keys.sort((one, other) => order(one) - order(other) || one.localeCompare(other));
  if (!lines.includes('["manager",""]')) lines.push('["manager",""]');
  const grows = lines.join() === drawnLines && drawnTalk.length <= said.length && drawnTalk.every((one, i) => one === said[i]);
  const scroll = byId("talk-scroll");
  const atEnd = scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight - 20;
  if (!grows) {
    scroll.style.setProperty("--halves", 2 * lines.length);
    byId("lifelines").replaceChildren(make("span"), ...lines.map((key) => make("b", { text: lineName(JSON.parse(key)) })));
    byId("talk").replaceChildren();
    drawnTalk = [];
    drawnLines = lines.join();
  }
  const began = said[0]?.time ?? 0;
  byId("talk").append(...said.slice(drawnTalk.length).map((one) => talkRow(one, lines, began)));
  drawnTalk = said;
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

const lineName = ([name, resource]) => (resource ? `${name} [${resource}]` : name);

function talkRow(one, lines, began) {
  const row = make("li", {}, make("time", { text: one.time === null ? "" : `${(one.time - began).toFixed(3)} s` }));
  lines.forEach((_, i) => {
    const life = make("i", { "aria-hidden": "true" });
    life.style.gridColumn = `${2 * i + 3} / span 1`;
    row.append(life);
  });
  const columnOf = (line) => lines.indexOf(JSON.stringify(line));
  if (!one.from) {
    const note = make("div", { class: one.failed ? "note failed" : "note", text: one.text });
    const manager = columnOf(["manager", ""]);
    note.style.gridColumn = `${2 * manager + 2} / span 2`;
    row.append(note);
    return row;
  }
  const [from, to] = [columnOf(one.from), columnOf(one.to)];
  const way = from < to ? "right" : "left";
  const box = make("div", { class: ["said", way, one.reply ? "reply" : "", one.failed ? "failed" : ""].join(" ").trim() });
  box.style.gridColumn = `${2 * Math.min(from, to) + 3} / ${2 * Math.max(from, to) + 3}`;
  box.append(make("span", { class: "hidden", text: `${lineName(one.from)} to ${lineName(one.to)}: ` }), one.text);
  if (one.answer !== undefined) {
    const took = one.seconds === null ? "" : ` (${(1000 * one.seconds).toFixed(1)} ms)`;
    box.append(make("small", { text: `${way === "right" ? "⇠" : "⇢"} ${one.answer}${took}` }));
  }
  row.append(box);
  return row;
}

// --- the running tasks ------------------------------------------------------------------------------------------------

function drawTasks() {
  if (byId("view-tasks").hidden) return;
  const root = parts.get("tasks");
  byId("tasks").replaceChildren(...(root ? [taskItem(root)] : [make("li", { class: "none", text: "None." })]));
  age();
}

function taskItem(node) {
  const item = make("li", { class: node.kind }, make("b", { text: node.name }));
  if (node.state) item.append(" ", make("span", { class: "state", text: node.state }));
  if (node.cancelled) item.append(" ", make("span", { class: "state", text: "cancelled" }));
  if (node.waits_for) item.append(" ", make("span", { text: `waits for ${node.waits_for}` }));
  if (node.since !== null || node.deadline !== null) {
    const ages = make("span");
    if (node.since !== null) ages.dataset.since = node.since;
    if (node.deadline !== null) ages.dataset.deadline = node.deadline;
    item.append(node.since === null ? " " : "", ages);
  }
  if (node.children.length) item.append(make("ul", {}, ...node.children.map(taskItem)));
  return item;
}

let clocksDiffer = 0; // seconds, from this clock to the manager's

function age() {
  if (byId("view-tasks").hidden) return;
  const now = trace.at ? trace.at.now : Date.now() / 1000 + clocksDiffer;
  for (const ages of byId("tasks").querySelectorAll("[data-since], [data-deadline]")) {
    const { since, deadline } = ages.dataset;
    const words = [];
    if (since !== undefined) words.push(`${Math.max(now - since, 0).toFixed(0)} s`);
    if (deadline !== undefined) words.push(since === undefined ? `ends within ${Math.max(deadline - now, 0).toFixed(0)} s` : `of ${(deadline - since).toFixed(0)} s`);
    ages.textContent = `${since === undefined ? "·" : ","} ${words.join(" ")}`;
  }
}

setInterval(age, 1000);

// --- tabs -------------------------------------------------------------------------------------------------------------

const tabs = [...byId("tabs").children];

function openTab(tab) {
  for (const one of tabs) {
    one.setAttribute("aria-selected", String(one === tab));
    one.tabIndex = one === tab ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = one !== tab;
  }
  drawTalk(events.all);
  drawTasks();
}

byId("tabs").addEventListener("click", ({ target }) => { if (tabs.includes(target)) openTab(target); });
byId("tabs").addEventListener("keydown", ({ target, key }) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  const there = tabs.filter((tab) => !tab.hidden);
  if (!step) return;
  const next = there[(there.indexOf(target) + step + there.length) % there.length];
  openTab(next);
  next.focus();
});

// --- a running manager ------------------------------------------------------------------------------------------------

function say(state, text) {
  byId("connection").dataset.state = state;
  byId("connection").textContent = text;
}

/** A browser has six connections to a server for all its tabs. So a tab that nobody sees has none. */
function follow() {
  let stream = null;
  const begin = () => {
    const begun = new EventSource("stream");
    stream = begun;
    begun.addEventListener("message", ({ data }) => {
      if (byId("connection").dataset.state !== "live") say("live", "live");
      receive(JSON.parse(data));
    });
    begun.addEventListener("error", () => {
      say("lost", "The manager is not reached: what is shown is the last it said. Trying again.");
      const again = () => stream === begun && begin();
      if (begun.readyState === EventSource.CLOSED) setTimeout(again, 2000);
    });
  };
  const look = () => {
    stream?.close();
    stream = null;
    if (!document.hidden) begin();
  };
  document.addEventListener("visibilitychange", look);
  look();
}

function offerFaults({ faults, calls }) {
  if (!faults.length) return;
  byId("tab-faults").hidden = false;
  byId("token-form").addEventListener("submit", (event) => event.preventDefault());
  byId("fault-forms").append(...faults.map((fault) => faultForm(fault, calls)));
}

const INPUTS = {
  call: (calls) => make("select", {}, ...calls.map((call) => make("option", { value: call, text: call }))),
  resource: () => make("input", { type: "text", list: "resource-names", maxlength: "300" }),
  seconds: () => make("input", { type: "number", min: "0", step: "any", value: "1" }),
  delay: () => make("input", { type: "number", min: "0", step: "any", value: "0" }),
  times: () => make("input", { type: "number", min: "1", value: "1" }),
  error: () => make("input", { type: "text", maxlength: "300", value: "an injected fault" }),
};

function faultForm(fault, calls) {
  const form = make("form", { class: "fault", "aria-label": fault.name });
  const inputs = fault.fields.map((field) => [field, INPUTS[field](calls)]);
  form.append(make("p", { text: fault.help }));
  for (const [field, input] of inputs) form.append(make("label", { text: `${field} ` }, input));
  form.append(make("button", { text: fault.name }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { name: fault.name };
    for (const [field, input] of inputs) {
      if (input.value !== "") body[field === "delay" ? "seconds" : field] = input.type === "number" ? Number(input.value) : input.value;
    }
    const headers = { "content-type": "application/json", "x-devicemgr-token": byId("token").value };
    try {
      const answer = await fetch("fault", { method: "POST", headers, body: JSON.stringify(body) });
      byId("fault-result").textContent = `${fault.name}: ${answer.ok ? "done" : await answer.text()}`;
    } catch {
      byId("fault-result").textContent = `${fault.name}: the manager did not answer`;
    }
  });
  return form;
}

// --- a recorded trace -------------------------------------------------------------------------------------------------

const trace = {
  at: null,       // the moment that is shown
  wanted: null,   // the question that is to be asked next: only the latest counts
  asking: false,

  open({ file, duration }) {
    say("trace", `Trace ${file}`);
    byId("time").hidden = false;
    byId("slider").max = duration;
    byId("slider").step = "any";
    byId("slider").addEventListener("input", ({ target }) => this.ask(`seconds=${target.value}`));
    byId("back").addEventListener("click", () => this.step(-1));
    byId("forth").addEventListener("click", () => this.step(1));
    byId("play").addEventListener("click", () => this.play(byId("play").getAttribute("aria-pressed") === "false"));
    this.ask("event=0");
  },

  step(by) {
    if (this.at) this.ask(`event=${Math.min(Math.max(this.at.event + by, 0), this.at.of)}`);
  },

  play(on) {
    byId("play").setAttribute("aria-pressed", String(on));
    byId("play").textContent = on ? "Pause" : "Play";
    if (on && this.at?.event === this.at?.of) this.ask("event=0");
    else if (on) this.step(1);
  },

  async ask(question) {
    this.wanted = question;
    if (this.asking) return;
    this.asking = true;
    while (this.wanted !== null) {
      const now = this.wanted;
      this.wanted = null;
      try {
        const answer = await (await fetch(`at?${now}`)).json();
        this.show(answer);
      } catch {
        say("lost", "The page is not served any more.");
        break;
      }
    }
    this.asking = false;
  },

  show(answer) {
    this.at = { ...answer.moment, now: answer.now };
    receive(answer);
    const { event, of, seconds, next, what } = this.at;
    byId("slider").value = seconds;
    byId("slider").setAttribute("aria-valuetext", `${seconds.toFixed(3)} seconds, event ${event} of ${of}`);
    byId("moment").textContent = `${seconds.toFixed(3)} s · event ${event} of ${of}${what ? ` · ${what}` : ""}`;
    const playing = byId("play").getAttribute("aria-pressed") === "true";
    if (playing && event === of) this.play(false);
    else if (playing) setTimeout(() => { if (byId("play").getAttribute("aria-pressed") === "true") this.step(1); }, 1000 * Math.min(Math.max(next, 0.05), 1));
  },
};

// --- begin ------------------------------------------------------------------------------------------------------------

async function begin() {
  const about = await (await fetch("about")).json();
  if (about.mode === "trace") return trace.open(about);
  offerFaults(about);
  return follow();
}

begin().catch(() => say("lost", "The manager is not reached."));
