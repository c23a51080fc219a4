// The state, in parts, as the server has sent them; their names are listed in parts.py.
//
// A part that has changed is drawn in the next frame, together with all others that have changed until then. So a state
// that changes faster than a screen is drawn costs no more than one frame after the other.

export const parts = new Map();

let changed = new Set(); // names of what is to be drawn
let draw = null;

/** `drawing` gets the names of what has changed, at most once per frame. */
export function drawEachFrame(drawing) {
  draw = drawing;
}

/** These are drawn in the next frame: parts by their names, or whatever else `drawing` knows. */
export function toDraw(...names) {
  if (!changed.size && names.length) requestAnimationFrame(drawChanged);
  for (const name of names) changed.add(name);
}

function drawChanged() {
  const now = changed;
  changed = new Set();
  draw(now);
}

/** The first message is complete: what it does not have is gone. */
export function takeParts(message) {
  const gone = new Set(message.gone);
  if (message.first) for (const name of parts.keys()) if (!(name in message.parts)) gone.add(name);
  const isNew = (name, value) => !message.first || JSON.stringify(parts.get(name)) !== JSON.stringify(value);
  const news = Object.entries(message.parts).filter(([name, value]) => isNew(name, value));
  for (const [name, value] of news) parts.set(name, value);
  for (const name of gone) parts.delete(name);
  toDraw(...news.map(([name]) => name), ...gone);
}
