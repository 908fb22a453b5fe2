// The wall: what of the collection is shown, in which order, kept in the address.
const PAGE = 480; // works on one page of the wall, so that the document stays light
const STEP = 48; // works hung at once while the reader scrolls
const NARROWEST = 170; // pixels of a column, where versions of a painting hang side by side

const form = document.querySelector("form.tools");
const wall = document.querySelector(".wall");
const more = document.getElementById("more");
const pager = document.querySelector(".pager");
const total = Number(document.body.dataset.total);

let state = readState();
let found = [];
let hung = 0;

const pages = () => Math.max(1, Math.ceil(found.length / PAGE));
const page = () => Math.min(Math.max(1, Number(state.page) || 1), pages());
const onPage = () => found.slice((page() - 1) * PAGE, page() * PAGE);

function hang() {
  const all = onPage();
  const next = all.slice(hung, hung + STEP);
  const nodes = next.map((work) => card(work, { open: openWork, compare: compareWorks }));
  nodes.forEach((node, i) => {
    node.toggleAttribute("data-first", all[hung + i - 1]?.id !== next[i].id);
  });
  wall.append(...nodes);
  hung += next.length;
}

function hangWhileNear() {
  while (hung < onPage().length && more.getBoundingClientRect().top < innerHeight + 1200) hang();
}

function label() {
  const usual = showsRejected(state) ? works.length : works.length - rejected;
  const filtered = found.length !== usual || state.status !== "";
  const all = `${usual.toLocaleString()} work${usual === 1 ? "" : "s"}`;
  const text = filtered ? `${found.length.toLocaleString()} of ${all}` : all;
  form.elements.shown.value = works.length < total ? `${text}, loading …` : text;
  form.querySelector("[type=reset]").hidden = !(filtered || state.sort);
  document.getElementById("nothing").hidden = found.length > 0 || works.length < total || !total;
  pager.hidden = pages() === 1;
  pager.querySelector("span").textContent = `Page ${page()} of ${pages()}`;
  pager.querySelector('[data-step="-1"]').disabled = page() === 1;
  pager.querySelector('[data-step="1"]').disabled = page() === pages();
}

// In the catalog's order the versions of a painting are neighbours: they hang in rows of their own,
// all rows of a painting about as long.
function layOut() {
  let longest = 1;
  found.reduce((length, work, i) => {
    const row = work.id === found[i - 1]?.id ? length + 1 : 1;
    longest = Math.max(longest, row);
    return row;
  }, 0);
  if (state.sort && !state.item) longest = 1;
  const fitting = Math.max(1, Math.floor(wall.clientWidth / NARROWEST));
  const columns = Math.ceil(longest / Math.ceil(longest / fitting));
  wall.classList.toggle("in-rows", longest > 1);
  wall.style.setProperty("--columns", columns);
}

// Show the works that the state asks for; what already hangs rightly stays where it is.
function show() {
  found = choose(state);
  layOut();
  const expected = onPage();
  const nodes = [...wall.children];
  const same =
    nodes.length <= expected.length &&
    nodes.every((node, i) => Number(node.dataset.index) === expected[i].index);
  if (!same) {
    stop();
    stopTogether();
    wall.replaceChildren();
    hung = 0;
  }
  hangWhileNear();
  label();
  form.hidden = Boolean(state.item);
  showCompared(state.item ? found : []);
  if (state.item && !together.length && !calm.matches) playAll();
  if (!state.item) stopTogether();
}

function fill(name) {
  const select = form.elements[name];
  const counts = new Map();
  for (const work of works) {
    for (const value of FILTERS[name](work)) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  if (state[name] && !counts.has(state[name])) counts.set(state[name], 0);
  const names = [...counts.keys()].sort(collator.compare);
  const options = names.map((value) =>
    make("option", { value, text: `${value} (${counts.get(value).toLocaleString()})` }),
  );
  select.replaceChildren(select.options[0], ...options);
  select.value = state[name];
  // Where every cell is a variant of its own, one of the two is enough.
  const same = name === "variant" && counts.size === new Set(works.map((work) => work.cell)).size;
  const label = select.closest("label");
  label.hidden = (counts.size < 2 || same || (name === "mark" && !reviewing())) && !state[name];
}

function toForm() {
  Object.keys(FILTERS).forEach(fill);
  for (const name of ["q", "sort"]) form.elements[name].value = state[name];
}

function fromForm() {
  const values = Object.fromEntries(new FormData(form));
  state = { ...state, ...values, page: "", work: "" };
  writeState(state);
  show();
}

function openWork(work) {
  writeState({ ...state, work: refOf(work) }, { push: !dialog.open });
  state.work = refOf(work);
  showDetail(work, found.indexOf(work), found.length);
}

function compareWorks(work) {
  state = { ...state, item: work.id, work: "" };
  writeState(state, { push: true });
  show();
  scrollTo(0, 0);
}

function playAll() {
  playTogether([...wall.children].filter((card) => works[card.dataset.index].video !== null));
  compared.querySelector("[data-play]").textContent = "Pause";
}

function leaveCompared() {
  const item = state.item;
  state = { ...state, item: "" };
  writeState(state, { push: true });
  show();
  const place = onPage().findIndex((work) => work.id === item);
  while (hung <= place) hang();
  wall.children[place]?.scrollIntoView({ block: "center" });
}

function go(step) {
  const at = found.findIndex((work) => String(work.index) === dialog.dataset.index);
  const next = at < 0 ? undefined : found[at + step];
  if (next) openWork(next);
}

function openFromState() {
  if (!state.work) {
    if (dialog.open) dialog.close();
    return;
  }
  const work = works.find((candidate) => refOf(candidate) === state.work);
  if (work && !(dialog.open && dialog.dataset.index === String(work.index))) {
    showDetail(work, found.indexOf(work), found.length);
  }
}

// A burst of keys or list scripts is answered once.
function soon(action, delay) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, delay);
  };
}

function fromAddress() {
  state = readState();
  const lost = works.length >= total && !works.some((work) => work.id === state.item);
  if (state.item && lost) {
    // An old link: the page has no such painting any more.
    state.item = "";
    writeState(state);
  }
  compareMarks();
  toForm();
  show();
  showReview();
  openFromState();
}

let begun = false;
const arrived = soon(fromAddress, 60);
listeners.push(() => {
  form.hidden = Boolean(state.item);
  if (!begun) fromAddress(); // the first works hang at once
  else arrived();
  begun = true;
});

const search = soon(fromForm, 150);
form.addEventListener("input", (event) => (event.target.name === "q" ? search() : fromForm()));
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(fromForm));
new IntersectionObserver(hangWhileNear, { rootMargin: "1200px" }).observe(more);
addEventListener("scroll", hangWhileNear, { passive: true });
addEventListener("resize", layOut);
addEventListener("popstate", fromAddress);
document.addEventListener("visibilitychange", stop);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address after "#" is ours
  document.getElementById("works").focus();
});
compared.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.hasAttribute("data-all")) leaveCompared();
  if (!button?.hasAttribute("data-play")) return;
  if (!together.length) {
    playAll();
    return;
  }
  const pause = button.textContent === "Pause";
  pauseTogether(pause);
  button.textContent = pause ? "Play" : "Pause";
});
pager.addEventListener("click", (event) => {
  const step = Number(event.target.dataset?.step);
  if (!step) return;
  state.page = String(page() + step);
  writeState(state, { push: true });
  show();
  wall.scrollIntoView();
});

dialog.addEventListener("close", () => {
  releaseStage();
  state.work = "";
  writeState(state);
  if (state.item && !calm.matches) playAll();
  wall.querySelector(`[data-index="${dialog.dataset.index}"] .frame`)?.focus({ preventScroll: true });
});
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target === dialog || button?.hasAttribute("data-close")) dialog.close();
  else if (button?.dataset.go) go(Number(button.dataset.go));
});
document.addEventListener("keydown", (event) => {
  // With a modifier the arrows belong to the browser.
  const modified = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
  const busy = event.target.closest?.("video, textarea"); // there they move in time and in text
  if (!dialog.open || modified || busy) return;
  if (event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
});
