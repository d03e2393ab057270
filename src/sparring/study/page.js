// The page of a study. After page.js of the attacks' report: elements and text nodes alone, no text is read as markup.
document.documentElement.dataset.scripted = "";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const arms = data.arms.map(([name, family, style]) => ({ name, family, style }));
const measures = data.measures.map(([title, kind, share, rows]) => ({ title, kind, share, rows }));
const jobs = data.jobs.map(row => Object.fromEntries(data.columns.map((column, i) => [column, row[i]])));
for (const job of jobs) job.status = known(job.status);
const figures = data.cells.map(cell => {
  const [group, arm, measure, mean, sd, t, bootstrap, values, rows, from, compared] = cell;
  const known = { group, arm: arms[arm], measure: measures[measure], mean, sd, t, bootstrap, values, rows, jobs: from };
  if (!compared) return { ...known, comparison: null };
  const [difference, ends, p, holm, test, discordant, mcnemar, effect, seeds, common, verdict] = compared;
  const tested = { p, holm, test: data.values[test], discordant, mcnemar, effect };
  return { ...known, comparison: { difference, ends, ...tested, seeds, rows: common, verdict } };
});
const SVG = "http://www.w3.org/2000/svg";
const chosen = { group: 0, fate: "" };

// writing

const minus = text => text.replace("-", "\u2212");
const value = (figure, x) => x == null ? "–" : figure.measure.share ? percent(x) : minus(x.toFixed(3));
const range = (figure, ends) => !ends ? "" : figure.measure.share
  ? `${(100 * ends[0]).toFixed(1)} to ${(100 * ends[1]).toFixed(1)}`
  : minus(ends[0].toFixed(3)) + " to " + minus(ends[1].toFixed(3));
const signed = (figure, x) => minus((x > 0 ? "+" : "") + (figure.measure.share ? (100 * x).toFixed(1) : x.toFixed(3)));
const probability = p => p < 0.001 ? "< 0.001" : p.toFixed(p < 0.1 ? 3 : 2);
const seconds = s => s == null ? "" : s < 120 ? `${s.toFixed(s < 10 ? 1 : 0)}\u00a0s`
  : s < 7200 ? `${(s / 60).toFixed(0)}\u00a0min` : `${(s / 3600).toFixed(1)}\u00a0h`;
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;
const gigabytes = bytes => bytes == null ? "" : `${(bytes / 1e9).toFixed(2)}\u00a0GB`;
const SIGNS = { __proto__: null, better: "▲ better", worse: "▼ worse", open: "○ open" };
function swatch(style) {
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("class", `shape c${style}`);
  svg.setAttribute("viewBox", "-1.5 -1.5 3 3");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", data.shapes[style]);
  svg.append(path);
  return svg;
}
function button(text, does, name = "link") {
  const node = make("button", name, ...pieces(text));
  node.onclick = event => { event.stopPropagation(); does(node); };
  return node;
}
function list(pairs) { // (name, text or node or a list of them), without what is not known
  const node = make("dl", "facts-list");
  for (const [name, what] of pairs)
    if (what != null && what !== "") {
      const shown = [what].flat().map(part => typeof part === "object" ? part : isolated(part));
      node.append(make("dt", "", name), make("dd", "", ...shown));
    }
  return node;
}

// where a figure comes from

function known(place) { return place == null ? null : data.values[place]; }
function written(object) { return object ? make("pre", "mono", ...pieces(JSON.stringify(object, null, 2))) : null; }
function jobLink(place) {
  const job = jobs[place];
  if (!job) return isolated(String(place));
  const link = button(job.job, () => openDialog(jobView(job)));
  return make("div", "", link, make("span", "soft", " ", isolated(job.title ?? job.status)));
}
function jobFacts(job) {
  const error = known(job.error);
  const failure = error && (error.message ? `${error.type}: ${error.message}` : JSON.stringify(error));
  return list([["identity", make("bdi", "mono", ...pieces(job.job))], ["status", job.status], ["error", failure],
    ["seconds", seconds(job.seconds)], ["peak memory", gigabytes(job.memory)], ["started", job.started],
    ["settings", written(known(job.settings))], ["data, SHA-256", written(known(job.data))],
    ["made from", job.needs.length ? job.needs.map(jobLink) : null], ["environment", written(known(job.environment))]]);
}
function jobView(job) { return [job.title ?? job.job, jobFacts(job)]; }
function jobsView(places) {
  return [plural(places.length, "record"), make("div", "", ...places.map(jobLink))];
}
function figureFacts(figure) {
  const c = figure.comparison, of = n => plural(n, "seed"), way = x => signed(figure, x);
  const pairs = [
    ["mean", `${value(figure, figure.mean)} of ${of(figure.values.length)}, ${plural(figure.rows, "row")}`],
    ["by seed", figure.values.map(([seed, x]) => `seed ${seed}: ${value(figure, x)}`).join(" · ")],
    ["standard deviation", figure.sd == null ? null : way(figure.sd).replace("+", "")],
    ["95 %, bootstrap", range(figure, figure.bootstrap)],
    ["95 %, t over seeds", range(figure, figure.t)]];
  if (c) {
    const [mine, other] = (c.discordant ?? []).map(n => plural(n, "time"));
    const kind = figure.measure.rows ? "Cohen's h" : `paired Cohen's d over ${c.seeds > 1 ? "seeds" : "rows"}`;
    const common = `${of(c.seeds)}, ${plural(c.rows, "row")} in common`;
    pairs.push(
      [`against ${data.baseline}`, `${way(c.difference)}, 95 %: ${way(c.ends[0])} to ${way(c.ends[1])} (${common})`],
      ["verdict", SIGNS[c.verdict]],
      ["p after Holm", probability(c.holm)],
      ["p before", probability(c.p)],
      ["test", c.test],
      ["right alone", mine && `the arm ${mine}, ${data.baseline} ${other}; McNemar's exact p ${probability(c.mcnemar)}`
        + (c.seeds > 1 ? ", of the rows of these models alone: it says nothing of other seeds" : "")],
      ["effect size", `${minus(c.effect.toFixed(2))} (${kind})`]);
  }
  return list([...pairs, ["records", figure.jobs.length ? figure.jobs.map(jobLink) : "none"]]);
}
function figureView(figure) { return [`${figure.arm.name}: ${figure.measure.title}`, figureFacts(figure)]; }

const opened = [];
function openDialog(view) { opened.push(view); drawDialog(); }
function drawDialog() {
  const dialog = byId("dialog"), [title, body] = opened.at(-1), left = make("div", "picker");
  if (opened.length > 1) left.append(button("← back", () => { opened.pop(); drawDialog(); }, ""));
  left.append(button("close", () => dialog.close(), ""));
  dialog.replaceChildren(make("div", "bar-top", make("h3", "", isolated(title)), left), body);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
byId("dialog").onclose = () => { opened.length = 0; };
byId("dialog").onclick = event => { if (event.target === byId("dialog")) byId("dialog").close(); };
document.addEventListener("click", event => {
  const place = event.target.closest?.("[data-cell], [data-jobs]");
  if (!place) return;
  if (place.dataset.cell !== undefined) openDialog(figureView(figures[Number(place.dataset.cell)]));
  else {
    const places = place.dataset.jobs.split(" ").map(Number);
    openDialog(places.length === 1 ? jobView(jobs[places[0]]) : jobsView(places));
  }
});

// what is compared, and colours

function pick(group) {
  chosen.group = group;
  for (const part of all("[data-group]")) part.hidden = Number(part.dataset.group) !== group;
  for (const part of all("[data-pick]")) part.setAttribute("aria-pressed", String(Number(part.dataset.pick) === group));
}
for (const part of all("[data-pick]")) part.onclick = () => { pick(Number(part.dataset.pick)); findFigures(); };
function colour(theme) {
  document.documentElement.dataset.theme = theme;
  for (const part of all(".theme button")) part.setAttribute("aria-pressed", String(part.dataset.theme === theme));
}
for (const part of all(".theme button")) part.onclick = () => colour(part.dataset.theme);
for (const select of all("[data-choose]")) select.onchange = () => {
  for (const part of all("[data-chosen]", select.closest("figure"))) part.hidden = part.dataset.chosen !== select.value;
};
let shut = [];
addEventListener("beforeprint", () => {
  shut = all("details[data-print]:not([open])");
  for (const part of shut) part.open = true;
});
addEventListener("afterprint", () => { for (const part of shut) part.open = false; });

// tables that are there: order, columns, arms

function turned(head, heads) { // the direction that a click on a column asks for: first the largest, of texts the first
  const first = "sortText" in head.querySelector("button").dataset ? "ascending" : "descending";
  const next = head.getAttribute("aria-sort") !== first ? first : first === "ascending" ? "descending" : "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", next);
  return next === "ascending" ? 1 : -1;
}
function byValue(a, b, way) { // what is not there stands last
  if (a === "" || b === "") return (a === "") - (b === "");
  return way * (typeof a === "number" ? a - b : a.localeCompare(b));
}
for (const table of all("table.sortable")) {
  const heads = all("thead th", table), body = table.tBodies[0];
  heads.forEach((head, i) => all("button", head).forEach(press => press.onclick = () => {
    const way = turned(head, heads), numeric = text => text === "" ? "" : Number(text);
    const rows = [...body.rows].map(row => [numeric(row.cells[i].dataset.sort), row]);
    body.append(...rows.sort(([a], [b]) => byValue(a, b, way)).map(([, row]) => row));
  }));
}
for (const press of all(".columns button")) press.onclick = () => {
  const on = press.getAttribute("aria-pressed") === "false";
  press.setAttribute("aria-pressed", String(on));
  for (const part of all("table.matrix [data-kind]", press.closest("[data-group]")))
    if (part.dataset.kind === press.dataset.kind) part.toggleAttribute("data-off", !on);
};
for (const input of all("[data-filter]")) input.oninput = () => {
  const terms = input.value.trim().toLowerCase().split(/\s+/);
  for (const row of all("table.matrix tbody tr", input.closest("[data-group]"))) {
    const text = row.cells[0].textContent.toLowerCase();
    row.hidden = !terms.every(term => text.includes(term));
  }
};

// lists that are put together here, page by page

class Pages {
  constructor(name, size, draw, counter) {
    this.name = name;
    this.size = size;
    this.draw = draw;
    this.counter = byId(counter);
    this.bar = document.querySelector(`[data-pages=${name}]`);
    const [previous, next] = all("button", this.bar);
    previous.onclick = () => this.show(this.page - 1);
    next.onclick = () => this.show(this.page + 1);
    this.input = this.bar.querySelector("input");
    this.input.onchange = () => this.show(Math.trunc(Number(this.input.value) || 1) - 1);
  }
  set(found) { this.found = found; this.show(0); }
  show(page) {
    const last = Math.max(Math.ceil(this.found.length / this.size), 1) - 1, [previous, next] = all("button", this.bar);
    this.page = Math.min(Math.max(page, 0), last);
    const from = this.page * this.size, shown = this.found.slice(from, from + this.size);
    this.draw(shown);
    this.counter.textContent = this.found.length
      ? `${count(from + 1)}–${count(from + shown.length)} of ${count(this.found.length)}` : "nothing found";
    this.input.value = this.page + 1;
    this.bar.querySelector(".all").textContent = `of ${count(last + 1)}`;
    previous.disabled = this.page === 0;
    next.disabled = this.page === last;
    this.bar.hidden = last === 0;
  }
}
function choices(id, names) { for (const name of names) byId(id).append(new Option(name, name)); }
function later(id, does) { // not at each letter
  let waiting;
  byId(id).oninput = () => { clearTimeout(waiting); waiting = setTimeout(does, 120); };
}
function matches(text, search) { return search.toLowerCase().split(/\s+/).every(term => text.includes(term)); }
function foldable(row, columns, content) { // a row that opens below itself
  row.tabIndex = 0;
  row.setAttribute("aria-expanded", "false");
  row.onclick = () => {
    const open = row.nextElementSibling?.classList.contains("open");
    row.setAttribute("aria-expanded", String(!open));
    if (open) return row.nextElementSibling.remove();
    const cell = make("td", "", content());
    cell.colSpan = columns;
    row.after(make("tr", "open", cell));
  };
  row.onkeydown = event => { if (event.key === "Enter" && event.target === row) row.onclick(); };
  return row;
}
function sortable(table, keys, find) { // a function that orders what was found as the columns' buttons say
  const heads = all("thead th", byId(table));
  let key = null, way = 1;
  heads.forEach((head, i) => head.querySelector("button").onclick = () => {
    way = turned(head, heads);
    key = keys[i];
    find();
  });
  return found => !key ? found : found.map(item => [key(item) ?? "", item])
    .sort(([a], [b]) => byValue(a, b, way)).map(([, item]) => item);
}

function filled(table, rows) { byId(table).tBodies[0].replaceChildren(...rows); }
const figurePages = new Pages("figures", 25, shown => filled("figure-table", shown.map(figureRow)), "figure-count");
const figureOrder = sortable("figure-table", [
  f => f.arm.name, f => f.measure.title, f => f.mean, f => f.comparison?.difference, f => f.comparison?.holm,
  f => f.comparison?.effect, f => f.values.length * f.rows, f => f.comparison?.verdict], () => findFigures());
function figureRow(figure) {
  const c = figure.comparison, number = (...children) => make("td", "number", ...children);
  const below = text => make("span", "range", text);
  const name = make("td", "", swatch(figure.arm.style), make("b", "", isolated(figure.arm.name)));
  const mean = number(make("b", "", value(figure, figure.mean)), below(range(figure, figure.bootstrap ?? figure.t)));
  const compared = c ? [
    number(signed(figure, c.difference), below(`${signed(figure, c.ends[0])} to ${signed(figure, c.ends[1])}`)),
    number(probability(c.holm)), number(minus(c.effect.toFixed(2)))] : [number("–"), number("–"), number("–")];
  const why = figure.arm.name === data.baseline ? "baseline" : "not compared";
  const row = make("tr", "", name, make("td", "", isolated(figure.measure.title)), mean, ...compared,
    number(`${figure.values.length} × ${count(figure.rows)}`),
    make("td", c ? c.verdict : "soft", c ? SIGNS[c.verdict] : why));
  row.title = `records ${figure.jobs.map(place => jobs[place].job).join(" ")}`;
  return foldable(row, 8, () => figureFacts(figure));
}
function findFigures() {
  const [search, kind, verdict] = ["search", "kind", "verdict"].map(name => byId(`figure-${name}`).value.trim());
  const found = figures.filter(f => f.group === chosen.group && (!kind || f.measure.kind === kind)
    && (!verdict || f.comparison?.verdict === verdict)
    && matches(`${f.arm.name} ${f.arm.family} ${f.measure.title}`.toLowerCase(), search));
  figurePages.set(figureOrder(found.sort((a, b) => !a.comparison - !b.comparison)));
}
choices("figure-kind", new Set(measures.map(measure => measure.kind)));
later("figure-search", findFigures);
byId("figure-kind").onchange = byId("figure-verdict").onchange = findFigures;

// examples

const FATES = { __proto__: null, success: "✕ fell", failed: "✓ survived", skipped: "– wrong before the attack" };
const ALIKE = { __proto__: null, broken: "success", held: "failed" };
const named = place => place == null ? null : data.examples.names[place];
const examples = data.examples.rows.map(entry => {
  const [arm, style, where, seed, job, recipe, row, status, label, predicted, attacked, queries, ...rest] = entry;
  const [original, edits] = rest, answers = [label, predicted, attacked].map(named);
  const fate = ALIKE[named(status)] ?? String(named(status));
  return { arm: named(arm), style, where: named(where), seed, job, recipe: named(recipe), row, status: fate,
    label: answers[0], predicted: answers[1], attacked: answers[2], queries, original, edits };
});
function segments(example) { // the edits, as texts
  return example.fields ??= example.edits.map((edits, i) => {
    let at = 0;
    const text = example.original[i] == null ? "" : data.examples.texts[example.original[i]];
    const next = length => text.slice(at, at += length);
    return edits.map(edit => typeof edit === "string" ? [1, edit] : [edit < 0 ? -1 : 0, next(Math.abs(edit))]);
  });
}
function haystack(example) {
  const sides = [1, -1].flatMap(left => segments(example).map(field =>
    field.filter(([mark]) => mark !== left).map(([, text]) => text).join("")));
  const rest = [example.label, example.predicted, example.attacked, example.arm];
  return example.haystack ??= [...sides, ...rest].join("\n").toLowerCase();
}
function said(prediction, gold) {
  return make("b", prediction === gold ? "right" : "wrong", isolated(prediction), prediction === gold ? " ✓" : " ✕");
}
function exampleCard(example) {
  segments(example);
  const row = button(`row ${example.row}`, () => {
    forget();
    byId("search").value = `#${example.row}`;
    byId("example-where").value = example.where;
    findExamples();
  }, "");
  row.title = "all arms and attacks on this row";
  const facts = [example.recipe, `seed ${example.seed}`];
  if (example.queries != null) facts.push(example.queries === 1 ? "1 query" : `${count(example.queries)} queries`);
  const arm = make("span", "", swatch(example.style), make("b", "", isolated(example.arm)));
  const head = make("div", "head", make("span", "badge", FATES[example.status] ?? isolated(example.status)), arm, row);
  const record = button("record", () => openDialog(jobView(jobs[example.job])));
  head.append(make("span", "facts", ...pieces(facts.join(" · ")), record));
  const label = make("span", "", "label ", make("b", "", isolated(example.label)));
  const odds = make("div", "head", label, make("span", "", "model ", said(example.predicted, example.label)));
  if (example.attacked != null) odds.append(make("span", "", "under attack ", said(example.attacked, example.label)));
  const name = `card example ${FATES[example.status] ? example.status : ""}`;
  return make("article", name, head, ...texts(example), odds);
}
function forget() {
  for (const id of ["example-arm", "example-recipe", "example-where", "example-seed", "search"]) byId(id).value = "";
  chosen.fate = "";
}
let examplePages;
function findExamples() {
  const [arm, recipe, where, seed] = ["arm", "recipe", "where", "seed"].map(name => byId(`example-${name}`).value);
  const search = byId("search").value.trim(), row = /^#\d+$/.test(search) ? Number(search.slice(1)) : null;
  const found = examples.filter(e => (!arm || e.arm === arm) && (!recipe || e.recipe === recipe)
    && (!where || e.where === where) && (!seed || String(e.seed) === seed)
    && (row === null ? !search || matches(haystack(e), search) : e.row === row));
  for (const chip of all("[data-fate]")) {
    const fate = chip.dataset.fate, own = fate ? found.filter(e => e.status === fate) : found;
    chip.setAttribute("aria-pressed", String(fate === chosen.fate));
    chip.replaceChildren(fate ? FATES[fate] : "all", ` · ${count(own.length)}`);
    if (fate === chosen.fate) examplePages.set(own.toSorted((a, b) => a.row - b.row));
  }
}
if (examples.length) {
  const list = byId("examples-list");
  examplePages = new Pages("examples", 12, shown => list.replaceChildren(...shown.map(exampleCard)), "example-count");
  for (const name of ["arm", "recipe", "where", "seed"]) {
    const found = new Set(examples.map(example => String(example[name])));
    choices(`example-${name}`, found);
    byId(`example-${name}`).hidden = found.size < 2;
    byId(`example-${name}`).onchange = findExamples;
  }
  byId("view").onchange = () => examplePages.show(examplePages.page);
  for (const chip of all("[data-fate]")) chip.onclick = () => { chosen.fate = chip.dataset.fate; findExamples(); };
  later("search", findExamples);
  findExamples();
}

// jobs

const jobPages = new Pages("jobs", 25, shown => filled("job-table", shown.map(jobRow)), "job-count");
const jobOrder = sortable("job-table",
  [j => j.job, j => j.title, j => j.status, j => j.seconds, j => j.memory], () => findJobs());
function jobRow(job) {
  const row = make("tr", "", make("td", "mono", isolated(job.job)), make("td", "", isolated(job.title ?? "")),
    make("td", "", isolated(job.status)), make("td", "number", seconds(job.seconds)),
    make("td", "number", gigabytes(job.memory)));
  return foldable(row, 5, () => jobFacts(job));
}
function ofJob(job) {
  return job.haystack ??= [job.job, job.title, JSON.stringify(known(job.settings))].join(" ").toLowerCase();
}
function findJobs() {
  const search = byId("job-search").value.trim(), status = byId("job-status").value;
  const found = jobs.filter(job => (!status || job.status === status) && (!search || matches(ofJob(job), search)));
  jobPages.set(jobOrder(found));
}
choices("job-status", new Set(jobs.map(job => job.status)));
later("job-search", findJobs);
byId("job-status").onchange = findJobs;

if (all("[data-group]").length) pick(0);
findFigures();
findJobs();
