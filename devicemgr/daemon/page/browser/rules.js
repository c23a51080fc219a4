// The rules of the book that explain a line: "LW-8: When the stream ends, healthy devices become unhealthy".

import { make } from "./dom.js";
import { toDraw } from "./parts.js";

let book = {}; // by id, the sentence of each rule

/** Until it has come, and where it does not, a rule is only its id. */
export async function readBook() {
  const answer = await fetch("rules");
  if (!answer.ok) return;
  book = await answer.json();
  toDraw("events");
}

export function inWords(ids) {
  if (!ids.length) return [make("p", { class: "none", text: "No rule of the book is about this line." })];
  return ids.map((id) => make("p", {}, make("b", { text: id }), ...(id in book ? [": ", ...withCode(book[id])] : [])));
}

/** Between backticks is code, as in Markdown. */
const withCode = (text) => text.split("`").map((piece, i) => (i % 2 ? make("code", { text: piece }) : piece));
