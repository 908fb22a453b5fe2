// The versions of one painting side by side, played together so that their motion compares.
const MOST_TOGETHER = 24; // a browser allows some tens of players at once
const compared = document.querySelector(".compared");
let together = [];

function stopTogether() {
  for (const node of together) {
    node.closest(".frame")?.classList.remove("is-playing");
    release(node);
  }
  together = [];
}

// Every round begins at the same moment: a loop of its own would drift away from the others'.
function playTogether(cards) {
  stopTogether();
  const nodes = cards.slice(0, MOST_TOGETHER).map((card) => {
    const frame = card.querySelector(".frame");
    const node = video(works[card.dataset.index], {
      "aria-hidden": "true",
      loop: false,
      preload: "auto",
    });
    node.addEventListener("playing", () => frame.classList.add("is-playing"), { once: true });
    frame.append(node);
    return node;
  });
  together = nodes;
  let left = 0;
  const begin = () => {
    if (together !== nodes) return;
    const whole = nodes.filter((node) => node.error === null);
    left = whole.length;
    for (const node of whole) {
      node.currentTime = 0;
      node.play().catch(() => {}); // left before it began
    }
  };
  const ended = () => {
    left -= 1;
    if (left === 0) begin();
  };
  const ready = nodes.map(
    (node) =>
      new Promise((done) => {
        for (const name of ["canplaythrough", "error"]) node.addEventListener(name, done);
        for (const name of ["ended", "error"]) node.addEventListener(name, ended);
      }),
  );
  Promise.all(ready).then(begin);
}

function pauseTogether(pause) {
  for (const node of together) {
    if (pause) node.pause();
    else if (!node.ended) node.play().catch(() => {});
  }
}

// Shows the bar above the wall, or takes it away.
function showCompared(found) {
  const [work] = found;
  compared.hidden = !work;
  wall.classList.toggle("is-comparing", Boolean(work));
  if (!work) return;
  compared.querySelector("h2").textContent = nameOf(work);
  compared.querySelector(".byline").textContent = bylineOf(work);
  compared.querySelector(".prompt").textContent = work.prompt ?? "";
}
