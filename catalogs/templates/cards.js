// One work on the wall: its picture, which plays when looked at, and its label.
function make(tag, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined && text !== null) node.textContent = text;
  node.append(...children.filter((child) => child !== null));
  return node;
}

const FLAGS = {
  good: "moves well",
  static: "hardly moves",
  "cross-fade": "blends two pictures instead of moving",
  drift: "drifts away from the painting",
  flicker: "flickers",
};
const REASONS = {
  decode_failed: "The image could not be read",
  truncated: "The image file is incomplete",
  too_small: "The image is too small",
  too_large: "The image is too large",
  extreme_aspect: "The image is too long or too tall",
  encode_failed: "The video could not be written",
  cuda_oom: "The graphics card ran out of memory",
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MIN_RATIO = 0.6; // a narrower picture gets a wider place, so that its label has room

const ratioOf = (work) => (work.width > 0 && work.height > 0 ? work.width / work.height : 4 / 3);
const longNameOf = (work) => [nameOf(work), work.cell].filter((part) => part !== null).join(", ");
const nameOf = (work) => work.title ?? (work.id || "Untitled");
const bylineOf = (work) => [work.artist, work.year].filter((part) => part !== null).join(", ");
const reasonOf = (work) => REASONS[work.code] ?? (work.code ?? work.status).replaceAll("_", " ");
const round = (value) => (value === null ? null : String(Number(value.toPrecision(3))));
// Motion is a share of the picture's shorter side per frame.
const motionText = (value) => (value === null ? null : `${Number((100 * value).toPrecision(2))} %`);
const MOTION = "mean motion from frame to frame, in per cent of the picture’s shorter side";

function video(work, attributes = {}) {
  const node = make("video", {
    src: urlOf(work, "video"),
    poster: urlOf(work, "poster"),
    loop: true,
    playsinline: true,
    preload: "none",
    ...attributes,
  });
  node.muted = true;
  return node;
}

function release(node) {
  node.pause();
  node.removeAttribute("src");
  node.load(); // lets go of the connection
  node.remove();
}

let playing = null;

function stop() {
  if (!playing) return;
  const { node, frame } = playing;
  playing = null;
  frame.classList.remove("is-playing");
  release(node);
}

function play(frame, work) {
  if (playing?.frame === frame || work.video === null || frame.querySelector("video")) return;
  stop();
  const node = video(work, { "aria-hidden": "true" });
  playing = { node, frame };
  node.addEventListener("playing", () => frame.classList.add("is-playing"), { once: true });
  frame.append(node);
  node.play().catch(() => {
    // Left before it began, or the browser does not allow it: the poster stays.
  });
}

function picture(work, open) {
  const frame = make("button", {
    type: "button",
    class: "frame",
    "aria-label": `Open ${longNameOf(work)}`,
  });
  const poster = urlOf(work, "poster");
  if (poster === null) {
    frame.append(make("span", { class: "blank", text: "no picture" }));
  } else {
    frame.append(
      make("img", {
        src: poster,
        alt: "",
        width: work.width,
        height: work.height,
        loading: "lazy",
        decoding: "async",
      }),
    );
  }
  frame.addEventListener("pointerenter", (event) => {
    if (event.pointerType === "mouse" && !calm.matches) play(frame, work);
  });
  frame.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && playing?.frame === frame) stop();
  });
  frame.addEventListener("focus", () => {
    if (frame.matches(":focus-visible") && !calm.matches) play(frame, work);
  });
  frame.addEventListener("blur", () => {
    if (playing?.frame === frame) stop();
  });
  frame.addEventListener("click", (event) => {
    // A finger cannot hover: its first tap plays, the second opens.
    const tap = event.pointerType === "touch" || event.pointerType === "pen";
    if (tap && playing?.frame !== frame && work.video !== null && !calm.matches) play(frame, work);
    else open(work);
  });
  return frame;
}

function reason(work, open) {
  const frame = make(
    "button",
    { type: "button", class: "frame reason", "aria-label": `Open ${longNameOf(work)}` },
    make("span", { class: "state", text: work.status }),
    make("span", { class: "why", text: reasonOf(work) }),
    make("span", { class: "message", dir: "auto", text: work.message ?? "No reason was recorded." }),
    work.code === null ? null : make("code", { text: work.code }),
  );
  frame.addEventListener("click", () => open(work));
  return frame;
}

function chip(work) {
  if (work.flag === null) return null;
  return make("span", {
    class: `chip flag-${work.flag in FLAGS ? work.flag : "other"}`,
    title: FLAGS[work.flag],
    text: work.flag,
  });
}

function comparing(work, compare) {
  const count = versions.get(work.id);
  if (count < 2) return null;
  const button = make("button", { type: "button", class: "compare", text: `compare ${count}` });
  button.setAttribute("aria-label", `Compare the ${count} versions of ${nameOf(work)}`);
  button.addEventListener("click", () => compare(work));
  return button;
}

// A rejected work still has its picture.
const pictured = (work) =>
  work.status === "done" || (work.status === REJECTED && work.poster !== null);

function card(work, { open, compare }) {
  const ratio = pictured(work) ? ratioOf(work) : 1.1;
  const title = make("button", { type: "button", class: "title", text: nameOf(work) });
  title.dir = "auto";
  title.addEventListener("click", () => open(work));
  const node = make(
    "article",
    { class: "card", role: "listitem", "data-index": work.index },
    pictured(work) ? picture(work, open) : reason(work, open),
    make("h2", {}, title),
    work.cell === null ? null : make("p", { class: "cell", text: work.cell }),
    make("p", { class: "byline", dir: "auto", text: bylineOf(work) }),
    work.style.length ? make("p", { class: "style", text: work.style.join(" · ") }) : null,
    work.prompt ? make("p", { class: "prompt", dir: "auto", text: work.prompt }) : null,
    make(
      "p",
      { class: "marks" },
      work.status === REJECTED
        ? make("span", { class: "chip", title: work.message, text: REJECTED })
        : null,
      chip(work),
      work.motion === null
        ? null
        : make("span", {
            class: "motion",
            title: MOTION,
            text: `motion ${motionText(work.motion)}`,
          }),
      "mixed" in document.body.dataset && work.model !== null
        ? make("span", { class: "model", text: work.model })
        : null,
      comparing(work, compare),
    ),
  );
  node.style.setProperty("--r", Math.max(ratio, MIN_RATIO).toFixed(4));
  node.style.setProperty("--natural", ratio.toFixed(4));
  decorate(node, work);
  return node;
}
