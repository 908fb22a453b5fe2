// The detail view: one work, large, with everything that is known of its video.
const dialog = document.querySelector("dialog.detail");
const stage = dialog.querySelector(".stage");
const facts = dialog.querySelector(".facts");
const PREVIEW = "preview";

const FACTS = [
  ["Review", (_, more) => more.review && [more.review.verdict, more.review.note].filter(Boolean).join(": ")],
  ["Variant", (work) => (work.cell?.includes("variant=") ? null : work.variant)],
  ["Style", (work) => work.style.join(", ")],
  ["Genre", (_, more) => more.genre.join(", ")],
  ["Flag", (work) => work.flag && [work.flag, FLAGS[work.flag]].filter(Boolean).join(": ")],
  ["Model", (_, more) => modelText(more.model)],
  ["Proxy", (_, more) => modelText(more.proxy)],
  ["Seed", (_, more) => (more.candidates ? `${more.seed} (best of ${more.candidates})` : more.seed)],
  ["Seeds tried", (_, more) => more.tried],
  ["Size", (work) => work.width && work.height && `${work.width} × ${work.height}`],
  ["Length", (_, more) => lengthText(more)],
  ["Prompt from", (_, more) => [more.prompt_source, more.prompt_rule].filter(Boolean).join(", ")],
  ["Failed in", (_, more) => more.stage_failed],
  ["Attempts", (work, more) => (work.status === "done" ? null : more.attempt)],
  ["Rights", (_, more) => more.rights],
  ["Licence", (_, more) => more.license],
  ["Source", (_, more) => more.source_uri],
  ["Finished", (_, more) => more.finished_at],
  ["Item", (work) => work.id],
];
const MEASURES = [
  ["motion", "Motion", motionText],
  ["motion_top5", "Fastest 5 %", motionText],
  ["first_frame_ssim", "First frame", (value) => value && `${round(value)} SSIM`],
  ["blend_share", "Blend share", round],
  ["flicker", "Flicker", round],
  ["drift", "Drift", round],
  ["loop_seam", "Loop seam", round],
];
const SUMS = [
  ["key", "Key"],
  ["frames_sha256", "Frames, sha256"],
  ["source_sha256", "Painting, sha256"],
];

const modelText = (name) => (name === PREVIEW ? `${name} – not the paper’s quality` : name);

function lengthText({ frames, fps, duration }) {
  const parts = [
    duration && `${Number(duration.toFixed(2))} s`,
    frames && `${frames} frames`,
    fps && `${fps} per second`,
  ];
  return parts.filter(Boolean).join(", ");
}

function bytesText(count) {
  if (count === null) return "";
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

function table(pairs, className) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!rows.length) return null;
  const list = make("dl", { class: className });
  for (const [name, value] of rows) {
    list.append(
      make("div", {}, make("dt", { text: name }), make("dd", { dir: "auto", text: value })),
    );
  }
  return list;
}

const titled = (title, node) =>
  node && make("section", {}, make("h3", { text: title }), node);

function files(outputs) {
  const list = make("ul", { class: "files" });
  for (const file of outputs) {
    const link = file.url === null ? "span" : "a";
    list.append(
      make(
        "li",
        {},
        make(link, { href: file.url, target: file.url && "_blank", text: file.name }),
        make("small", { text: bytesText(file.bytes) }),
        file.sha256 === null ? null : make("code", { text: file.sha256, title: "sha256" }),
      ),
    );
  }
  return outputs.length ? list : null;
}

// What a curator wanted redone, small, so that it compares with what came of it.
function earlierVersions(work, versions) {
  if (!versions) return null;
  const items = versions.map((version) => {
    const label = `Earlier version of ${longNameOf(work)}, video`;
    const node = make("video", {
      src: version.video,
      poster: version.poster,
      ...{ loop: true, playsinline: true, preload: "none", controls: true, "aria-label": label },
    });
    node.muted = true;
    return make(
      "li",
      {},
      version.video === null ? null : node,
      make(
        "div",
        {},
        version.prompt && make("p", { dir: "auto", text: version.prompt }),
        version.note && make("p", { class: "note", dir: "auto", text: `Redone: ${version.note}` }),
        version.finished_at && make("small", { text: version.finished_at.slice(0, 10) }),
      ),
    );
  });
  return make("ul", { class: "earlier" }, ...items);
}

function heading(work) {
  return [
    work.cell && make("p", { class: "cell", text: work.cell }),
    make("p", { class: "byline", dir: "auto", text: bylineOf(work) }),
    work.prompt && make("blockquote", { class: "prompt", dir: "auto", text: work.prompt }),
  ].filter(Boolean);
}

function known(work, more) {
  const measures = MEASURES.map(([field, name, text]) => [
    name,
    text((field === "motion" ? work : more)[field] ?? null),
  ]);
  const sums = SUMS.map(([field, name]) => [name, more[field] ?? work[field]]);
  return [
    table(FACTS.map(([name, value]) => [name, value(work, more)]), "pairs"),
    titled("Earlier versions", earlierVersions(work, more.earlier)),
    titled("Measures", table(measures, "pairs numbers")),
    titled("Files", files(more.outputs)),
    titled("Checksums", table(sums, "sums")),
  ].filter(Boolean);
}

function showing(work) {
  if (!pictured(work)) {
    return make(
      "div",
      { class: "reason" },
      make("span", { class: "state", text: work.status }),
      make("span", { class: "why", text: reasonOf(work) }),
      make("span", { class: "message", dir: "auto", text: work.message ?? "No reason was recorded." }),
      work.code === null ? null : make("code", { text: work.code }),
    );
  }
  if (work.video === null) return make("div", { class: "reason", text: "No video was recorded." });
  const label = `${longNameOf(work)}, video`;
  const node = video(work, { controls: true, preload: "metadata", "aria-label": label });
  node.style.setProperty("--natural", ratioOf(work).toFixed(4));
  if (!calm.matches) node.play().catch(() => {});
  return node;
}

function releaseStage() {
  const node = stage.querySelector("video");
  if (node) release(node);
  stage.replaceChildren();
  facts.querySelectorAll("video").forEach(release);
}

function showDetail(work, place, count) {
  stop();
  stopTogether();
  releaseStage();
  dialog.querySelector("h2").textContent = nameOf(work);
  dialog.querySelector(".place").textContent =
    place < 0 ? "" : `${(place + 1).toLocaleString()} of ${count.toLocaleString()}`;
  dialog.querySelector('[data-go="-1"]').disabled = place <= 0;
  dialog.querySelector('[data-go="1"]').disabled = place < 0 || place >= count - 1;
  facts.replaceChildren(...heading(work), ...(reviewing() ? [reviewForm(work)] : []));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  dialog.dataset.index = work.index;
  stage.append(showing(work));
  const current = () => dialog.open && dialog.dataset.index === String(work.index);
  loadDetails(work).then(
    (more) => current() && facts.append(...known(work, more)),
    () => current() && facts.append(make("p", { text: "The details could not be loaded. Reloading the page may help." })),
  );
}
