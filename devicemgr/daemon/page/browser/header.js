// Whether the server is there: the line beside the title.

import { byId } from "./dom.js";

export function say(state, text) {
  const line = byId("connection");
  if (line.dataset.state === state && line.textContent === text) return; // it is read out when it changes
  line.dataset.state = state;
  line.textContent = text;
}
