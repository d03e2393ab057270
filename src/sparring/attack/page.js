"use strict"; // what the scripts of all pages use
const LONG = 600, ENDS = 220;
const byId = id => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const percent = value => value == null ? "" : (100 * value).toFixed(1) + "\u00a0%";
const count = value => value.toLocaleString("en");

// Everything below is made of elements and text nodes: a text of the data is never read as markup.
function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children.filter(child => child !== ""));
  return node;
}
function pieces(text) { // hidden characters come written out, as ⟨U+202E⟩
  return text.split(/(⟨U\+[0-9A-F]{4,6}⟩)/).map((piece, i) => i % 2 ? make("bdi", "hidden", piece) : piece);
}
function soft(text) { return make("span", "soft", text); }
function isolated(text) { return make("bdi", "", ...pieces(String(text))); }
function folded(text) { // a long passage that did not change
  const whole = make("span"), start = text.lastIndexOf(" ", ENDS) + 1 || ENDS, end = text.indexOf(" ", text.length - ENDS);
  const stop = end < 0 ? text.length - ENDS : end;
  const button = make("button", "fold", `… ${count(stop - start)} more characters …`);
  button.onclick = () => whole.replaceChildren(...pieces(text));
  whole.append(...pieces(text.slice(0, start)), button, ...pieces(text.slice(stop)));
  return whole;
}
function segment([mark, text]) {
  if (!mark) return text.length > LONG ? folded(text) : make("span", "", ...pieces(text));
  return make(mark < 0 ? "del" : "ins", "", ...pieces(text));
}
function paragraph(segments, side) {
  const node = make("p", "text", ...segments.map(segment));
  node.dir = "auto";
  if (side) node.prepend(make("bdi", "side", side));
  return node;
}
function texts(outcome) {
  if (byId("view").value === "inline") return outcome.fields.map(segments => paragraph(segments));
  return outcome.fields.flatMap(segments => segments.some(([mark]) => mark)
    ? [paragraph(segments.filter(([mark]) => mark <= 0), "before"), paragraph(segments.filter(([mark]) => mark >= 0), "after")]
    : [paragraph(segments)]);
}
