// Review: what a curator thinks of the works, kept in this browser and carried on as review.csv.
// A mark is about a painting: the versions of one that is drawn under several settings share it.
const VERDICTS = { keep: "Keep", redo: "Redo", reject: "Reject" };
const SHORTCUTS = { k: "keep", r: "redo", x: "reject", u: null };
const COLUMNS = ["id", "key", "verdict", "note", "prompt", "reviewed_at"];
const KEPT = COLUMNS.slice(1); // the id is in the entry's name
const UNMARKED = "unmarked";
const marks = new Map(); // id -> what a row of review.csv says, and whether its version is shown
const review = document.querySelector(".review");
const toggle = document.querySelector(".masthead [data-review]");
let byId = new Map(); // id -> works; made when it is asked for
let listed = 0; // of how many works

// One entry for each mark: a mark costs the same among ten and among ten thousand, and two tabs
// do not overwrite each other's.
const SHELF = `epa-review ${location.pathname} `;
const shelf = (() => {
  try {
    const store = window.localStorage;
    store.setItem(SHELF, "");
    store.removeItem(SHELF);
    return store;
  } catch {
    return null;
  }
})();
let unsaved = false; // whether there are marks that only this page knows

const reviewing = () => state.review !== "";
const shownMark = (id) => (marks.get(id)?.shown ? marks.get(id) : undefined);
const markOf = (work) => shownMark(work.id)?.verdict ?? UNMARKED;

function worksOf(id) {
  if (listed !== works.length) {
    byId = new Map();
    listed = works.length;
    for (const work of works) byId.set(work.id, [...(byId.get(work.id) ?? []), work]);
  }
  return byId.get(id) ?? [];
}

const isShown = (id, key) => worksOf(id).some((work) => work.key === key);

function keepMark(id) {
  try {
    const mark = marks.get(id);
    if (mark) shelf.setItem(SHELF + id, JSON.stringify(KEPT.map((name) => mark[name])));
    else shelf.removeItem(SHELF + id);
    return true;
  } catch {
    setUnsaved(marks.size > 0); // no storage, or a full one
    return false;
  }
}

// A page that asks before it goes is asked for only as long as there is something to lose.
const stay = (event) => event.preventDefault();
function setUnsaved(value) {
  unsaved = value;
  if (value) addEventListener("beforeunload", stay);
  else removeEventListener("beforeunload", stay);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // not ours, or damaged: as if it were not there
  }
}

function readMark(name, text) {
  const values = parsed(text);
  if (!Array.isArray(values) || !values.every((value) => typeof value === "string")) return;
  const mark = { ...zip(KEPT, values), id: name.slice(SHELF.length) };
  if (values.length === KEPT.length && mark.verdict in VERDICTS) marks.set(mark.id, mark);
}

function readMarks() {
  for (let i = 0; i < (shelf?.length ?? 0); i += 1) {
    const name = shelf.key(i);
    if (name.startsWith(SHELF)) readMark(name, shelf.getItem(name));
  }
}

// The works have arrived, some of them: marks are about versions, and an old one is none of these.
function compareMarks() {
  if (!marks.size) return;
  for (const work of works) {
    const mark = marks.get(work.id);
    if (mark && mark.key === work.key) mark.shown = true;
  }
}

const now = () => new Date().toISOString();

function setMark(work, verdict) {
  if (verdict === null) marks.delete(work.id);
  else {
    const { note, prompt } = shownMark(work.id) ?? { note: "", prompt: "" };
    const mark = { id: work.id, key: work.key, verdict, note, prompt, reviewed_at: now() };
    marks.set(work.id, { ...mark, shown: true });
  }
  keepMark(work.id);
  showMark(work.id);
}

function setText(work, name, text) {
  const mark = shownMark(work.id);
  if (!mark) return;
  mark[name] = text;
  mark.reviewed_at = now();
  keepMark(work.id);
  if (unsaved) tell();
}

// -- what is shown

function verdictButtons(work) {
  const buttons = Object.entries(VERDICTS).map(([verdict, text]) =>
    make("button", {
      type: "button",
      "data-verdict": verdict,
      "aria-pressed": String(markOf(work) === verdict),
      "aria-keyshortcuts": Object.keys(SHORTCUTS).find((key) => SHORTCUTS[key] === verdict),
      text,
    }),
  );
  const label = `Review of ${nameOf(work)}`;
  return make("div", { class: "verdicts", role: "group", "aria-label": label }, ...buttons);
}

function pressVerdicts(node, work) {
  for (const button of node.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", String(markOf(work) === button.dataset.verdict));
  }
}

function decorate(node, work) {
  const there = node.querySelector(".verdicts");
  if (reviewing() && !there) node.append(verdictButtons(work));
  else if (!reviewing()) there?.remove();
  else pressVerdicts(node, work);
  node.dataset.mark = reviewing() ? markOf(work) : "";
}

function field(work, name, text, value, hint) {
  const area = make("textarea", { rows: 3, dir: "auto", "data-field": name });
  area.value = value;
  return make(
    "label",
    { "data-for": name },
    make("span", { text }),
    area,
    hint && make("small", { text: hint }),
  );
}

function reviewForm(work) {
  const mark = shownMark(work.id);
  const form = make(
    "section",
    { class: "marking", "aria-label": "Review" },
    verdictButtons(work),
    field(work, "note", "Note", mark?.note ?? "", null),
    field(
      work,
      "prompt",
      "New prompt",
      mark?.prompt || (work.prompt ?? ""),
      "Left as it is, or empty: the same prompt with another seed.",
    ),
  );
  form.addEventListener("input", ({ target }) => {
    const text = target.value.replace(/\s*[\r\n]+\s*/g, target.dataset.field === "prompt" ? " " : "\n");
    const same = target.dataset.field === "prompt" && text.trim() === (work.prompt ?? "").trim();
    setText(work, target.dataset.field, same ? "" : text.trim());
  });
  offerFields(form, work);
  return form;
}

function offerFields(form, work) {
  const verdict = markOf(work);
  form.querySelector('[data-for="note"]').hidden = verdict === UNMARKED;
  form.querySelector('[data-for="prompt"]').hidden = verdict !== "redo";
}

function showMark(id) {
  for (const node of wall.children) {
    const work = works[node.dataset.index];
    if (work.id === id) decorate(node, work);
  }
  const form = facts.querySelector(".marking");
  const open = works[dialog.dataset.index];
  if (form && open?.id === id) {
    pressVerdicts(form, open);
    offerFields(form, open);
  }
  tell();
  refillMarks();
}

const refillMarks = soon(() => fill("mark"), 200);

function countMarks() {
  const counts = { keep: 0, redo: 0, reject: 0 };
  for (const mark of marks.values()) if (mark.shown) counts[mark.verdict] += 1;
  return counts;
}

function tell() {
  const counts = countMarks();
  const sum = Object.values(counts).reduce((a, b) => a + b);
  const parts = Object.entries(counts).map(([name, count]) => `${count.toLocaleString()} ${name}`);
  review.querySelector(".tally").textContent = sum
    ? `${sum.toLocaleString()} marked: ${parts.join(", ")}`
    : "Nothing marked yet";
  review.querySelector("[data-download]").disabled = !sum;
  review.querySelector(".kept").hidden = shelf !== null && !unsaved;
}

function say(text) {
  const node = review.querySelector(".said");
  node.textContent = text;
  node.hidden = !text;
}

function showReview() {
  document.body.classList.toggle("is-reviewing", reviewing());
  review.hidden = !reviewing();
  toggle.hidden = !works.length;
  toggle.setAttribute("aria-pressed", String(reviewing()));
  for (const node of wall.children) decorate(node, works[node.dataset.index]);
  if (reviewing()) tell();
}

// -- review.csv

// What a spreadsheet would take for a formula gets a quote before it; what looks like that already
// gets one more, so that reading takes away exactly what writing put there.
const FORMULA = /^'*(?:[\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/;
const NUMBER = /^[+-]?\d+([.,]\d+)?$/;
const CONTROLS =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;

function spelled(character) {
  const code = character.charCodeAt(0);
  if (character === "\r") return "\\r";
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

const shownText = (text) => text.replace(CONTROLS, spelled);

function cellOf(value) {
  const text = shownText(value);
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

const textOf = (cell) => (cell.startsWith("'") && FORMULA.test(cell) ? cell.slice(1) : cell);

function reviewRows() {
  const rows = [];
  const seen = new Set();
  for (const { id } of works) {
    const mark = shownMark(id);
    if (!mark || seen.has(id)) continue;
    seen.add(id);
    rows.push(mark.verdict === "redo" ? mark : { ...mark, prompt: "" });
  }
  return rows;
}

function csvOf(rows) {
  const lines = rows.map((row) => COLUMNS.map((name) => cellOf(row[name])).join(","));
  return `\ufeff${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`; // the mark is for Excel
}

function parseCsv(text) {
  const header = text.split(/\r?\n/, 1)[0];
  const counts = [",", ";", "\t"].map((mark) => [header.split(mark).length, mark]);
  const [, delimiter] = counts.sort((a, b) => b[0] - a[0])[0];
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') {
        cell += c;
        i += 1;
      } else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === delimiter || c === "\n") {
      row.push(cell);
      cell = "";
      if (c === "\n") {
        rows.push(row);
        row = [];
      }
    } else if (c !== "\r") cell += c;
  }
  rows.push([...row, cell]);
  return rows.filter((cells) => cells.some((value) => value.trim()));
}

// Takes the marks of a review.csv over; of two marks on a work the later one stays.
function loadReview(text) {
  const [header, ...rows] = parseCsv(text).map((cells) => cells.map(textOf));
  const names = (header ?? []).map((name) => name.trim().toLowerCase());
  const missing = COLUMNS.slice(0, 3).filter((name) => !names.includes(name));
  if (missing.length) return `This is no review.csv: it has no column ${missing.join(", ")}.`;
  const ids = new Map(works.map((work) => [shownText(work.id), work.id]));
  const count = { taken: 0, old: 0, later: 0, wrong: 0 };
  let room = true; // a full storage says so once, not for each of many thousand marks
  for (const cells of rows) {
    const row = zip(names, names.map((_, i) => cells[i] ?? ""));
    const verdict = row.verdict.trim().toLowerCase();
    const id = ids.get(shownText(row.id));
    if (id === undefined || !(verdict in VERDICTS)) count.wrong += 1;
    else if (!isShown(id, row.key.trim())) count.old += 1;
    else if ((shownMark(id)?.reviewed_at ?? "") > (row.reviewed_at ?? "")) count.later += 1;
    else {
      const { note = "", prompt = "", reviewed_at = "" } = row;
      marks.set(id, { id, key: row.key.trim(), verdict, note, prompt, reviewed_at, shown: true });
      room &&= keepMark(id);
      count.taken += 1;
    }
  }
  showReview();
  refillMarks();
  const parts = [
    `${count.taken.toLocaleString()} marks loaded`,
    count.later && `${count.later.toLocaleString()} left out, marked here since`,
    count.old && `${count.old.toLocaleString()} left out, of earlier versions`,
    count.wrong && `${count.wrong.toLocaleString()} left out, of no work or verdict known here`,
  ];
  return `${parts.filter(Boolean).join("; ")}.`;
}

async function loadFile(file) {
  const text = new TextDecoder("utf-8", { fatal: true });
  try {
    return loadReview(text.decode(await file.arrayBuffer()));
  } catch {
    return `${file.name} is not UTF-8 text; save it as CSV UTF-8.`;
  }
}

function download() {
  const blob = new Blob([csvOf(reviewRows())], { type: "text/csv;charset=utf-8" });
  const link = make("a", { href: URL.createObjectURL(blob), download: "review.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  setUnsaved(false);
  tell();
  say("Take it in with: epa retry COLLECTION --from review.csv");
}

// -- what a curator does

function toggleReview() {
  state = { ...state, review: reviewing() ? "" : "1", mark: "" };
  writeState(state);
  toForm();
  show();
  showReview();
}

// The work that a key is meant for: the open one, the one with the focus, the one under the mouse.
function meant(target) {
  if (dialog.open) return works[dialog.dataset.index];
  const node = target.closest?.(".card") ?? wall.querySelector(".card:hover");
  return node ? works[node.dataset.index] : undefined;
}

function onVerdict(event, work) {
  const verdict = event.target.closest("[data-verdict]")?.dataset.verdict;
  if (verdict) setMark(work, markOf(work) === verdict ? null : verdict);
}

toggle.addEventListener("click", toggleReview);
wall.addEventListener("click", (event) => {
  const node = event.target.closest(".card");
  if (node) onVerdict(event, works[node.dataset.index]);
});
dialog.addEventListener("click", (event) => onVerdict(event, works[dialog.dataset.index]));
document.addEventListener("keydown", (event) => {
  const modified = event.altKey || event.ctrlKey || event.metaKey || event.repeat;
  if (!reviewing() || modified || event.target.closest?.("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  const work = key in SHORTCUTS ? meant(event.target) : undefined;
  if (work) setMark(work, SHORTCUTS[key]);
});
review.querySelector("[data-download]").addEventListener("click", download);
const chooser = review.querySelector("[type=file]");
review.querySelector("[data-load]").addEventListener("click", () => chooser.click());
chooser.addEventListener("change", async () => {
  const [file] = chooser.files;
  if (file) say(await loadFile(file));
  chooser.value = "";
});
addEventListener("storage", ({ key, newValue }) => {
  // Another tab with this page has set or taken away a mark, or has opened.
  if (!key?.startsWith(SHELF) || key === SHELF) return;
  const id = key.slice(SHELF.length);
  if (newValue === null) marks.delete(id);
  else readMark(key, newValue);
  const mark = marks.get(id);
  if (mark) mark.shown = isShown(id, mark.key);
  showMark(id);
});
readMarks();
