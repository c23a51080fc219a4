// The pods. Each has a letter and a colour, by its number, and so have the devices that it holds. A pod that is chosen has
// its devices outlined.

import { byId, make, place } from "./dom.js";
import { parts, toDraw } from "./parts.js";
import { readable, some } from "./words.js";

const MOST_PODS = 500; // shown

let pods = new Map();  // by uid
let chosen = null;     // a uid
const items = new Map(); // by uid, what is drawn, and of what

export const podOf = (uid) => pods.get(uid);
export const isChosen = (uid) => uid === chosen;

/** 0 is A, 25 is Z, 26 is AA. */
export function labelOf(number) {
  return (number > 25 ? labelOf(Math.floor(number / 26) - 1) : "") + String.fromCharCode(65 + (number % 26));
}

/** Hues of successive numbers are far apart. */
export const hueOf = (number) => Math.round((250 + number * 137.508) % 360);

export const nameOf = (pod) => readable(pod.name ? `${pod.namespace}/${pod.name}` : `uid ${pod.uid}`, 120);

export const podsHaveChanged = (changed) => changed.has("pods") || [...changed].some((name) => name.startsWith("pod "));

export function drawPods(changed) {
  if (!podsHaveChanged(changed) && ![...changed].some((name) => name.startsWith("held "))) return;
  pods = new Map((parts.get("pods") ?? []).map((uid) => [uid, parts.get(`pod ${uid}`)]));
  if (!pods.has(chosen)) chosen = null;
  for (const uid of items.keys()) if (!pods.has(uid)) items.delete(uid);
  const held = heldByContainer();
  const shown = [...pods.values()].slice(0, MOST_PODS).map((pod) => itemOf(pod, held));
  if (!pods.size) shown.push(make("li", { class: "none", text: "No pod is admitted." }));
  if (pods.size > MOST_PODS) shown.push(make("li", { class: "none", text: `and ${pods.size - MOST_PODS} more` }));
  place(byId("pod-list"), shown);
}

const keyOf = (uid, container) => `${uid} ${container}`;

/** What each container holds, in words. */
function heldByContainer() {
  const held = new Map();
  for (const name of parts.get("resources") ?? []) {
    for (const [uid, container, ids] of parts.get(`held ${name}`) ?? []) {
      const key = keyOf(uid, container);
      held.set(key, [...held.get(key) ?? [], `${readable(name, 320)}: ${some(ids)}`]);
    }
  }
  return held;
}

function itemOf(pod, held) {
  const lines = pod.containers.map((container) => lineOf(pod, container, held));
  const key = JSON.stringify([pod, lines]);
  const before = items.get(pod.uid);
  const item = before?.key === key ? before.item : newItem(pod, lines);
  items.set(pod.uid, { key, item });
  item.firstElementChild.setAttribute("aria-pressed", String(isChosen(pod.uid)));
  return item;
}

function newItem(pod, lines) {
  const sign = make("span", { class: "cell held", "aria-hidden": "true", text: labelOf(pod.number) });
  sign.style.setProperty("--hue", hueOf(pod.number));
  const button = make("button", { type: "button" }, sign, make("b", { text: nameOf(pod) }));
  button.setAttribute("aria-label", `Pod ${labelOf(pod.number)}, ${nameOf(pod)}: show its devices`);
  button.addEventListener("click", () => {
    chosen = isChosen(pod.uid) ? null : pod.uid;
    toDraw("pods");
  });
  const item = make("li", { class: "pod" }, button, make("ul", {}, ...lines.map((text) => make("li", { text }))));
  item.dataset.uid = pod.uid;
  return item;
}

function lineOf(pod, container, held) {
  const kind = container.kind === "main" ? "" : ` (${container.kind})`;
  const devices = held.get(keyOf(pod.uid, container.name)) ?? ["no devices"];
  return `${readable(container.name)}${kind}: ${devices.join("; ")}`;
}
