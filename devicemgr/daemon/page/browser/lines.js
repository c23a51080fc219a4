// A list of lines of which one is chosen: the newest, until somebody chooses another.
//
// The list is one stop of the Tab key; arrow keys, Home and End move within it. Who has left the newest line stays where
// they are, whatever comes; who goes back to the newest one follows again.

export class Lines {
  /** The lines are the children of `list` that `newLine` has made. The newest is at its `end`: "first" or "last". At the
   *  `place` is what `explain` says of the chosen one: elements. */
  constructor(list, end, place, explain) {
    Object.assign(this, { list, end, place, explain });
    this.picked = null; // by somebody; null while the newest is followed
    this.chosen = null;
    list.addEventListener("click", ({ target }) => this.lineOf(target)?.focus({ preventScroll: true }));
    list.addEventListener("focusin", ({ target }) => this.pick(this.lineOf(target)));
    list.addEventListener("keydown", (event) => this.move(event));
  }

  get isFollowing() {
    return this.picked === null;
  }

  /** Other lines are there, or there is something else to say of them. */
  update() {
    this.pick(this.picked);
  }

  pick(line) {
    const lines = this.lines();
    const newest = lines.at(this.end === "first" ? 0 : -1);
    this.picked = line !== newest && lines.includes(line) ? line : null;
    if (this.chosen) this.mark(this.chosen, false);
    this.chosen = this.picked ?? newest;
    if (this.chosen) this.mark(this.chosen, true);
    this.place.replaceChildren(...(this.chosen ? this.explain(this.chosen) : []));
  }

  mark(line, isChosen) {
    line.tabIndex = isChosen ? 0 : -1;
    line.setAttribute("aria-selected", String(isChosen));
    if (isChosen) line.setAttribute("aria-describedby", this.place.id);
    else line.removeAttribute("aria-describedby");
  }

  move(event) {
    const lines = this.lines();
    const at = lines.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    lines[to]?.focus();
  }

  lines() {
    return [...this.list.children].filter((line) => line.dataset.line);
  }

  lineOf(target) {
    return this.lines().find((line) => line.contains(target));
  }
}

/** The element, as a line that is not chosen. */
export function newLine(element) {
  element.dataset.line = "line";
  element.tabIndex = -1;
  element.setAttribute("aria-selected", "false");
  return element;
}
