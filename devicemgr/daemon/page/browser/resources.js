// The resources: of each how many devices there are of what kind, who its plug-in is, and its devices by NUMA nodes.
//
// What changes often is cheap: states and holders are drawn into cells that stay. The cells are made again only when other
// devices are there.

import { announce, announceNothingMore } from "./announcement.js";
import { drawBar, drawCell, flash, newCell } from "./cells.js";
import { hint, moveTo, sayGone, showDetail, shownAmong } from "./detail.js";
import { byId, make, place } from "./dom.js";
import { parts, toDraw } from "./parts.js";
import { podsHaveChanged } from "./pods.js";
import { readable, some } from "./words.js";

const MOST_RESOURCES = 500; // shown; of more, those with a text in their names
const MANY = 150;          // cells of a group, from which on they are small
const TOO_MANY = 2000;     // cells of a group, from which on they are shown as a bar, until somebody asks for them
const MOST_CELLS = 10000;  // of all groups together; a further one is a bar, too
const MOST_FLASHES = 200;  // cells of a resource that flash at once: where more have changed, nobody looks for each

const resources = new Map(); // by name
let cellsDrawn = 0;          // of all resources

export function drawResources(changed) {
  if (changed.has("resources")) placeResources();
  const podsChanged = podsHaveChanged(changed);
  for (const [name, resource] of resources) {
    if (resource.isNew || changed.has(`resource ${name}`)) resource.drawCounts();
    if (resource.isNew || changed.has(`devices ${name}`) || resource.isKnown !== knowsDevices(name)) resource.placeCells();
    else if (podsChanged || changed.has(`states ${name}`) || changed.has(`held ${name}`)) resource.drawCells();
    resource.isNew = false;
  }
  hint(byId("resources").querySelector(".cell, .bar") !== null);
}

function placeResources() {
  const all = parts.get("resources") ?? [];
  byId("find").hidden = all.length <= MOST_RESOURCES;
  const found = byId("find").hidden ? all : all.filter((name) => name.includes(byId("filter-resources").value));
  const names = found.slice(0, MOST_RESOURCES);
  const there = new Set(names);
  for (const [name, resource] of resources) {
    if (there.has(name)) continue;
    resource.forget();
    resources.delete(name);
  }
  for (const name of names) if (!resources.has(name)) resources.set(name, new Resource(name));
  const more = make("p", { class: "none", text: `and ${found.length - names.length} more` });
  place(byId("resources"), [...names.map((name) => resources.get(name).section), ...(found.length > names.length ? [more] : [])]);
  if (!byId("tab-faults").hidden) byId("resource-names").replaceChildren(...names.map((name) => make("option", { value: name })));
}

byId("filter-resources").addEventListener("input", () => toDraw("resources"));

/** A trace in which events are missing may lack some that is held, and the list of the devices. */
function countsOf(it) {
  if (!it.knows_devices) return `devices not known: the trace does not have the event that lists them; allocated at least ${it.allocated}`;
  const [least, most] = it.knows_holders ? ["", ""] : ["at least ", "at most "];
  return `capacity ${it.capacity}, allocatable ${it.allocatable}, allocated ${least}${it.allocated}, available ${most}${it.available}`;
}

const knowsDevices = (name) => parts.get(`resource ${name}`)?.knows_devices ?? true;

function pluginOf({ endpoint, socket }) {
  if (endpoint === "node") return "the node has it without a plug-in";
  if (endpoint === "unknown") return "plug-in not known";
  if (!socket && endpoint === "serving") return "plug-in: serving"; // its registration is missing
  return `plug-in ${readable(socket) || "not back yet"}: ${endpoint}`;
}

class Resource {
  constructor(name) {
    this.name = name;
    this.title = readable(name, 320); // the longest valid one is whole
    this.isNew = true;     // nothing is drawn yet
    this.isKnown = true;   // which devices there are
    this.cells = [];       // in the order of the states; null where a group is a bar
    this.bars = [];
    this.unfolded = false; // does somebody want to see each of very many?
    this.counts = make("p");
    this.groups = make("div", { class: "groups" });
    this.section = make("section", { class: "resource", "aria-label": this.title });
    this.section.append(make("h3", { text: this.title }), this.counts, this.groups);
  }

  drawCounts() {
    const it = parts.get(`resource ${this.name}`);
    if (!it) return;
    const standbys = it.standbys.length ? `, ${some(it.standbys)} on stand-by` : "";
    this.counts.textContent = `${countsOf(it)}; ${pluginOf(it)}${standbys}`;
    this.counts.dataset.endpoint = it.endpoint;
    const healthy = it.knows_devices ? `${it.allocatable} of ${it.capacity} healthy` : "devices not known";
    announce(this.name, `${this.title}: ${healthy}, ${it.allocated} allocated, ${it.endpoint}`);
  }

  /** Who is at a device stays there, or at its place when it has gone. */
  placeCells() {
    const groups = parts.get(`devices ${this.name}`) ?? [];
    this.isKnown = knowsDevices(this.name);
    const before = this.cells;
    const at = before.indexOf(document.activeElement);
    const wasShown = shownAmong(before);
    this.forgetCells();
    this.groups.replaceChildren(...groups.map(([nodes, ids]) => this.placeGroup(nodes, ids)));
    this.drawCells();
    const cells = this.cells.filter(Boolean);
    const same = (device) => cells.find((cell) => cell.device.id === device.id);
    if (at >= 0 && cells.length) moveTo(same(before[at].device) ?? cells[Math.min(at, cells.length - 1)]);
    else if (wasShown) same(wasShown) ? showDetail(same(wasShown)) : sayGone(wasShown);
  }

  forgetCells() {
    cellsDrawn -= this.cells.filter(Boolean).length;
    this.cells = [];
    this.bars = [];
  }

  forget() {
    const wasShown = shownAmong(this.cells);
    if (wasShown) sayGone(wasShown);
    this.forgetCells();
    announceNothingMore(this.name);
  }

  placeGroup(nodes, ids) {
    const without = this.isKnown ? "without NUMA node" : "NUMA node not known";
    const where = nodes ? `NUMA node${nodes.length > 1 ? "s" : ""} ${nodes.join(", ")}` : without;
    const title = make("h4", { text: `${where}: ${ids.length} device${ids.length === 1 ? "" : "s"}` });
    const tooMany = ids.length > TOO_MANY || cellsDrawn + ids.length > MOST_CELLS;
    const devices = tooMany && !this.unfolded ? this.newBar(where, ids) : [this.newCells(where, ids)];
    return make("div", { class: "group" }, title, ...devices);
  }

  newBar(where, ids) {
    const bar = make("div", { class: "bar", role: "img" });
    const sizes = make("p", { class: "sizes" });
    const each = make("button", { type: "button", text: "Show each device" });
    each.addEventListener("click", () => {
      this.unfolded = true;
      this.placeCells();
      this.groups.querySelector(".cell").focus(); // the button is not there any more
    });
    this.bars.push({ bar, sizes, where, begin: this.cells.length, end: this.cells.length + ids.length });
    for (let i = 0; i < ids.length; i++) this.cells.push(null);
    return [bar, sizes, each];
  }

  newCells(where, ids) {
    const list = make("div", { class: "cells", role: "listbox", "aria-label": `${this.title}, ${where}` });
    list.classList.toggle("many", ids.length > MANY);
    list.style.setProperty("--count", ids.length);
    const cells = ids.map((id) => newCell(id, where, this.title));
    for (const cell of cells) {
      this.cells.push(cell);
      list.append(cell);
    }
    cellsDrawn += ids.length;
    if (list.firstChild) list.firstChild.tabIndex = 0;
    return list;
  }

  drawCells() {
    const states = parts.get(`states ${this.name}`) ?? "";
    const owners = new Map();
    for (const [uid, container, ids] of parts.get(`held ${this.name}`) ?? []) {
      for (const id of ids) owners.set(id, [uid, container]);
    }
    const changed = this.cells.filter((cell, i) => cell && drawCell(cell, states[i], owners.get(cell.device.id)));
    if (changed.length <= MOST_FLASHES) changed.forEach(flash);
    for (const bar of this.bars) drawBar(bar, states.slice(bar.begin, bar.end));
  }
}
