// What others have chosen (ids, names, messages), as text that can be read.

// What nobody sees, and combining marks that have no letter to be on, or are more than five on one: these would be drawn on
// what others have written. The same as printable.py.
const UNSEEN = /(?! )[\p{C}\p{Z}]|(?<=(?:^|[\0-/:-@[-`{-\x7f])[\p{Mn}\p{Me}]*|[\p{Mn}\p{Me}]{5})[\p{Mn}\p{Me}]/gu;
const HALF_AT_END = /[\ud800-\udbff]$/;   // of a character that takes two places, such as an emoji
const HALF_AT_BEGIN = /^[\udc00-\udfff]/;

/** The text in one line: whole unless it is long, and without what nobody sees, what turns the line around, or what covers
 *  other lines. */
export function readable(text, longest = 80) {
  return (text.length > longest ? shortened(text, longest / 2) : text).replace(UNSEEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

const shortened = (text, half) =>
  `${text.slice(0, half).replace(HALF_AT_END, "")}…${text.slice(-half).replace(HALF_AT_BEGIN, "")}`;

/** The first ones of many ids. */
export function some(ids) {
  return ids.slice(0, 8).map((id) => readable(id)).join(", ") + (ids.length > 8 ? ` and ${ids.length - 8} more` : "");
}
