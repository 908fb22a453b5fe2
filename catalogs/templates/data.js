// The works in memory: the list scripts add to them, filters and sorting run over them.
const works = [];
const detailFiles = []; // {start, per, paths}: which script holds the details of which works
const details = new Map(); // script path -> rows of details, and who waits for them
const listeners = [];
const REJECTED = "rejected"; // by a curator: not shown unless it is asked for
let rejected = 0; // how many there are
const versions = new Map(); // id -> how many works there are of it: one for each cell of a matrix

const zip = (fields, values) => Object.fromEntries(fields.map((field, i) => [field, values[i]]));

window.epaGallery = {
  works({ fields, rows, start, details: paths, per }) {
    rows.forEach((values, i) => {
      const work = { ...zip(fields, values), index: start + i };
      works[work.index] = work;
      if (work.status === REJECTED) rejected += 1;
      versions.set(work.id, (versions.get(work.id) ?? 0) + 1);
    });
    detailFiles.push({ start, end: start + rows.length, per, paths });
    listeners.forEach((listener) => listener());
  },
  details({ fields, rows }) {
    // The script that calls is the one that was asked for: its address says which part this is.
    const entry = details.get(document.currentScript.getAttribute("src"));
    entry.settle(rows.map((values) => zip(fields, values)));
  },
};

function loadDetails(work) {
  const file = detailFiles.find(({ start, end }) => start <= work.index && work.index < end);
  const part = Math.floor((work.index - file.start) / file.per);
  const path = file.paths[part];
  if (!details.has(path)) {
    const entry = {};
    entry.rows = new Promise((resolve, reject) => {
      entry.settle = resolve;
      const script = document.createElement("script");
      script.setAttribute("src", path);
      script.onerror = () => {
        details.delete(path); // so that opening the work again tries again
        reject(new Error(`missing ${path}`));
      };
      document.head.append(script);
    });
    details.set(path, entry);
  }
  const offset = (work.index - file.start) % file.per;
  return details.get(path).rows.then((rows) => rows[offset]);
}

// What names one work in the address: its id, and its cell where it has one.
const refOf = (work) => (work.cell === null ? work.id : `${work.id} ${work.cell}`);
const urlOf = (work, name) => (work[name] === null ? null : work.base + work[name]);

// Letters without their marks, so that "munch" finds "Münch".
const folded = (text) =>
  text
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .toLowerCase();

function haystack(work) {
  work.text ??= folded(
    [work.title, work.artist, work.year, ...work.style, work.prompt, work.code, work.id, work.cell]
      .filter((part) => part !== null)
      .join("\n"),
  );
  return work.text;
}

const FILTERS = {
  cell: (work) => (work.cell === null ? [] : [work.cell]),
  variant: (work) => (work.variant === null ? [] : [work.variant]),
  artist: (work) => (work.artist === null ? [] : [work.artist]),
  style: (work) => work.style,
  status: (work) => [work.status],
  mark: (work) => [markOf(work)],
  flag: (work) => (work.flag === null ? [] : [work.flag]),
};

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const nullsLast = (compare) => (a, b) =>
  a === null || b === null ? (a === null) - (b === null) : compare(a, b);
const byNumber = (a, b) => a - b;
const yearOf = (work) => {
  const year = parseInt(/-?\d+/.exec(String(work.year ?? ""))?.[0], 10);
  return Number.isNaN(year) ? null : year;
};
const ORDERS = {
  motion: [(work) => work.motion, (a, b) => b - a],
  "-motion": [(work) => work.motion, byNumber],
  title: [(work) => work.title, collator.compare],
  artist: [(work) => work.artist, collator.compare],
  year: [yearOf, byNumber],
  "-year": [yearOf, (a, b) => b - a],
};

const showsRejected = (state) => state.status !== "" || state.item !== "";

function choose(state) {
  if (state.item) return works.filter((work) => work.id === state.item);
  const words = folded(state.q).split(/\s+/).filter(Boolean);
  const all = showsRejected(state);
  const wanted = Object.entries(FILTERS).filter(([name]) => state[name]);
  const found = works.filter(
    (work) =>
      (all || work.status !== REJECTED) &&
      wanted.every(([name, values]) => values(work).includes(state[name])) &&
      words.every((word) => haystack(work).includes(word)),
  );
  const order = ORDERS[state.sort];
  if (!order) return found;
  const [value, compare] = order;
  const compareValues = nullsLast(compare);
  return found
    .map((work) => [value(work), work])
    .sort((a, b) => compareValues(a[0], b[0]) || a[1].index - b[1].index)
    .map(([, work]) => work);
}

// What the address keeps after its "#": filters, order, page, the item whose versions are compared,
// the work that is open, and whether works are reviewed.
const STATE = {
  ...{ q: "", cell: "", variant: "", artist: "", style: "", status: "", flag: "" },
  ...{ mark: "", sort: "", page: "", item: "", work: "", review: "" },
};

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.keys(STATE).map((name) => [name, given.get(name) ?? ""]));
}

function writeState(state, { push = false } = {}) {
  const kept = new URLSearchParams(Object.entries(state).filter(([, value]) => value));
  const address = `#${kept}`;
  if (address === (location.hash || "#")) return;
  history[push ? "pushState" : "replaceState"](null, "", address);
}
