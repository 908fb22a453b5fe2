// The wall: what of the collection is shown, in which order, kept in the address.
const PAGE = 480; // works on one page of the wall, so that the document stays light
const STEP = 48; // works hung at once while the reader scrolls

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
  const next = onPage().slice(hung, hung + STEP);
  wall.append(...next.map((work) => card(work, openWork)));
  hung += next.length;
}

function hangWhileNear() {
  while (hung < onPage().length && more.getBoundingClientRect().top < innerHeight + 1200) hang();
}

function label() {
  const filtered = found.length !== works.length;
  const all = `${works.length.toLocaleString()} work${works.length === 1 ? "" : "s"}`;
  const text = filtered ? `${found.length.toLocaleString()} of ${all}` : all;
  form.elements.shown.value = works.length < total ? `${text}, loading …` : text;
  form.querySelector("[type=reset]").hidden = !(filtered || state.sort);
  document.getElementById("nothing").hidden = found.length > 0 || works.length < total || !total;
  pager.hidden = pages() === 1;
  pager.querySelector("span").textContent = `Page ${page()} of ${pages()}`;
  pager.querySelector('[data-step="-1"]').disabled = page() === 1;
  pager.querySelector('[data-step="1"]').disabled = page() === pages();
}

// Show the works that the state asks for; what already hangs rightly stays where it is.
function show() {
  found = choose(state);
  const expected = onPage();
  const nodes = [...wall.children];
  const same =
    nodes.length <= expected.length &&
    nodes.every((node, i) => Number(node.dataset.index) === expected[i].index);
  if (!same) {
    stop();
    wall.replaceChildren();
    hung = 0;
  }
  hangWhileNear();
  label();
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
  select.closest("label").hidden = counts.size < 2 && !state[name];
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
  writeState({ ...state, work: work.id }, { push: !dialog.open });
  state.work = work.id;
  showDetail(work, found.indexOf(work), found.length);
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
  const work = works.find((candidate) => candidate.id === state.work);
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
  toForm();
  show();
  openFromState();
}

let begun = false;
const arrived = soon(fromAddress, 60);
listeners.push(() => {
  form.hidden = false;
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
addEventListener("popstate", fromAddress);
document.addEventListener("visibilitychange", stop);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address after "#" is ours
  document.getElementById("works").focus();
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
  wall.querySelector(`[data-index="${dialog.dataset.index}"] .frame`)?.focus({ preventScroll: true });
});
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target === dialog || button?.hasAttribute("data-close")) dialog.close();
  else if (button?.dataset.go) go(Number(button.dataset.go));
});
document.addEventListener("keydown", (event) => {
  // On the video the arrows seek; with a modifier they belong to the browser.
  const modified = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
  if (!dialog.open || modified || event.target instanceof HTMLVideoElement) return;
  if (event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
});
