"""The gallery in a real browser: what a reader sees and does."""

import functools
import http.server
import json
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from chromium import needs_chromium, running
from PIL import Image

from catalogs.gallery import write_gallery
from catalogs.store import Store

pytestmark = [pytest.mark.browser, needs_chromium]

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
WORKS = [
    # id, title, artist, year, style, flag, motion, size
    ("a/b", "Zebra", "Anna", 1900, "Cubism", "good", 0.02, (96, 64)),
    ("../../x", HOSTILE, "Münch & Söhne", 1800, "Ukiyo_e", "static", 0.0001, (64, 96)),
    ("<script>", "مقهى 🎨", None, None, None, "good", 0.01, (64, 64)),
    ("née #1?&q=%", "apple", "anna", "c. 1750", "Cubism", "drift", 0.03, (96, 32)),
]
FAILED = {
    "item_id": "bad",
    "title": "Lost",
    "status": "failed",
    "code": "truncated",
    "message": "The JPEG ends after 12 of 99 bytes.",
    "stage_failed": "prepare",
    "outputs": [],
}


def clip(path, size):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        x = np.linspace(0, 255, size[0], dtype=np.uint8)
        picture = np.stack([np.tile(x, (size[1], 1))] * 3, axis=-1)
        for shift in range(16):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, shift * 4, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    Image.fromarray(picture).save(path.with_name("poster.jpg"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A collection of four works and a failure, in a folder whose own name needs encoding."""
    root = tmp_path_factory.mktemp("gallery") / "a collection #1 é"
    rows = []
    for i, (item_id, title, artist, year, style, flag, motion, size) in enumerate(WORKS):
        place = f"videos/w {i} é#?-0000/01-23"
        (root / place).mkdir(parents=True)
        clip(root / place / "video.mp4", size)
        names = ("video.mp4", "poster.jpg")
        outputs = [{"name": n, "path": f"{place}/{n}", "sha256": "ab" * 32} for n in names]
        row = {"item_id": item_id, "title": title, "artist": artist, "year": year, "style": style}
        row |= {"flag": flag, "motion": motion, "width": size[0], "height": size[1]}
        row |= {"status": "done", "model": "preview", "seed": 2**62 + 1, "outputs": outputs}
        if i == 0:
            tried = [{"seed": 7, "flag": HOSTILE, "score": 0.5}, {"seed": 2**62 + 1, "flag": flag}]
            row |= {"candidate": 1, "candidates": 2, "candidates_tried": json.dumps(tried)}
        rows.append(row | {"prompt": f"Prompt {i} {HOSTILE}", "fps": 8, "duration": 2.0})
    write_gallery(Store.open(str(root)), [*rows, FAILED], title=f"Works {HOSTILE}")
    write_gallery(Store.open(str(root / "empty")), [], title="Nothing yet")
    many = [{**rows[0], "item_id": f"m{i}", "title": f"No {i}", "outputs": []} for i in range(1000)]
    write_gallery(Store.open(str(root / "many")), many, title="Many")
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser):
    with browser.page() as page:
        page.view(1400, 900)
        yield page
        page.eval("0")  # takes in what has been reported by now
        assert page.errors == []
        assert page.eval("window.hacked") is None
        outside = ("file:", "http://127.0.0.1", "data:image/svg+xml")  # data: the player's icons
        assert [url for url in page.requests if not url.startswith(outside)] == []


def opened(page, folder, rest=""):
    page.open(f"{(folder / 'index.html').as_uri()}{rest}")
    page.wait("document.readyState === 'complete'")
    return page


def titles(page):
    return page.eval("[...document.querySelectorAll('.card .title')].map(n => n.textContent)")


def names(*indices):
    return [WORKS[i][1] if i < len(WORKS) else "Lost" for i in indices]


def until(page, expected):
    page.wait(
        "JSON.stringify([...document.querySelectorAll('.card .title')].map(n => n.textContent))"
        f" === JSON.stringify({json.dumps(expected)})"
    )


def shows(page, title):
    page.wait(f"document.querySelector('#detail-title').textContent === {json.dumps(title)}")


def test_the_wall_shows_every_work_as_text(page, folder):
    opened(page, folder)
    assert titles(page) == names(0, 1, 2, 3, 4)
    assert page.eval("document.title") == f"Works {HOSTILE}"
    assert "preview model" in page.eval("document.querySelector('.badge').textContent")
    reason = page.eval("document.querySelector('.card .reason').innerText")
    assert FAILED["message"] in reason
    assert "truncated" in reason
    assert page.eval("document.querySelectorAll('script').length") == 2


LEFT_TO_RIGHT = """(() => [...document.querySelectorAll(%s)].every((node) => {
  const text = document.createTreeWalker(node, NodeFilter.SHOW_TEXT).nextNode();
  if (text === null) return true;
  const range = document.createRange();
  const lefts = [...text.data].map((_, i) => {
    range.setStart(text, i); range.setEnd(text, i + 1);
    return range.getBoundingClientRect().left;
  });
  return lefts.every((left, i) => i === 0 || left >= lefts[i - 1]);
}))()"""


def test_no_text_is_written_backwards(page, tmp_path):
    turned = "ab\u202egnp.exe\u2067 cd"
    fields = ("item_id", "title", "artist", "prompt", "style", "code", "message", "cell", "rights")
    rows = [dict.fromkeys(fields, turned) | {"year": 1900}, {"item_id": f"{turned}2"}]
    write_gallery(Store.open(str(tmp_path)), rows, title=turned)
    opened(page, tmp_path)
    assert titles(page) == ["abgnp.exe cd", r"ab\u202egnp.exe\u2067 cd2"]
    for shown in ("h1", ".card .title", ".card .byline", ".card .reason"):
        assert page.eval(LEFT_TO_RIGHT % json.dumps(shown)), shown
    page.click(".card .title")
    page.wait("/rights|Rights/.test(document.querySelector('dialog').innerText)")
    assert page.eval(LEFT_TO_RIGHT % json.dumps("dialog h2, dialog .byline"))
    assert not page.eval(r"/[\u202a-\u202e\u2066-\u2069]/.test(document.body.textContent)")
    assert not page.eval(r"/[\u202a-\u202e\u2066-\u2069]/.test(document.title)")


def test_posters_load_and_are_not_cropped(page, folder):
    opened(page, folder)
    page.wait("[...document.images].length === 4 && [...document.images].every(i => i.complete)")
    shapes = page.eval(
        "[...document.images].map(i => [i.naturalWidth / i.naturalHeight,"
        " i.clientWidth / i.clientHeight])"
    )
    assert all(natural == pytest.approx(shown, rel=0.02) for natural, shown in shapes)


@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("flag", "static", (1,)),
        ("status", "failed", (4,)),
        ("artist", "Münch & Söhne", (1,)),
        ("style", "Cubism", (0, 3)),
        ("q", "munch", (1,)),
        ("q", "ANNA zeb", (0,)),
        ("q", "no such thing", ()),
    ],
)
def test_filters(page, folder, field, value, left):
    opened(page, folder)
    page.choose(f"[name={field}]", value)
    until(page, names(*left))
    assert page.eval("document.getElementById('nothing').hidden") is bool(left)
    kept = page.eval("location.hash")
    opened(page, folder / "empty")
    opened(page, folder, kept)  # the address alone brings the same view back
    until(page, names(*left))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("motion", (3, 0, 2, 1, 4)),
        ("-motion", (1, 2, 0, 3, 4)),
        ("title", (1, 3, 4, 0, 2)),
        ("artist", (0, 3, 1, 2, 4)),
        ("year", (3, 1, 0, 2, 4)),
        ("-year", (0, 1, 3, 2, 4)),
    ],
)
def test_orders(page, folder, order, expected):
    opened(page, folder)
    page.choose("[name=sort]", order)
    until(page, names(*expected))


def test_clearing_shows_everything_again(page, folder):
    opened(page, folder, "#flag=static&sort=title")
    until(page, names(1))
    page.click("[type=reset]")
    until(page, names(0, 1, 2, 3, 4))
    assert page.eval("location.hash") == ""


def test_hovering_plays_and_leaving_stops(page, folder):
    opened(page, folder)
    assert page.eval("document.querySelectorAll('.wall video').length") == 0
    page.hover(".card .frame")
    page.wait("document.querySelector('.wall video')?.currentTime > 0.2")
    video = "document.querySelector('.wall video')"
    assert page.eval(f"{video}.muted && {video}.loop && {video}.playsInline")
    page.hover("h1")
    page.wait("!document.querySelector('.wall video')")


def test_only_one_plays_and_focus_plays_too(page, folder):
    opened(page, folder)
    page.hover(".card .frame")
    page.wait("document.querySelector('.wall video')")
    page.eval("document.querySelector('.tools select').focus()")
    page.eval("document.querySelectorAll('.frame')[1].focus({focusVisible: true})")
    page.wait("document.querySelectorAll('.frame')[1].querySelector('video')?.currentTime > 0")
    assert page.eval("document.querySelectorAll('.wall video').length") == 1


LISTEN = (
    "document.querySelector('.card .frame')"
    ".addEventListener('pointerenter', () => { window.entered = true; })"
)


def test_reduced_motion_plays_nothing_unasked(page, folder):
    page.media(prefers_reduced_motion="reduce")
    opened(page, folder)
    page.eval(LISTEN)
    page.hover(".card .frame")
    page.wait("window.entered")  # the gallery has heard of it, too
    assert page.eval("document.querySelectorAll('.wall video').length") == 0
    page.click(".card .frame")
    page.wait("document.querySelector('dialog video')?.readyState >= 1")
    video = "document.querySelector('dialog video')"
    assert page.eval(f"{video}.paused && !{video}.autoplay")


def test_a_finger_plays_first_and_opens_next(page, folder):
    page.view(390, 844, phone=True)
    opened(page, folder)
    assert page.eval("document.documentElement.scrollWidth <= innerWidth")
    page.tap(".card .frame")
    page.wait("document.querySelector('.wall video')?.currentTime > 0.1")
    assert not page.eval("document.querySelector('dialog').open")
    page.tap(".card .frame")
    page.wait("document.querySelector('dialog').open")


def test_the_detail_view(page, folder):
    opened(page, folder)
    page.click(".card .frame")
    page.wait("document.querySelector('dialog .sums, dialog .files')")
    page.wait("document.querySelector('dialog video').currentTime > 0.1")
    text = page.eval("document.querySelector('dialog').innerText")
    assert f"{2**62 + 1} (best of 2)" in text
    assert f"0 {HOSTILE} 0.5, 1 {WORKS[0][5]} (kept)" in text
    assert "not the paper’s quality" in text
    assert "ab" * 32 in text
    assert page.eval("document.querySelector('dialog video').controls")
    links = page.eval("[...document.querySelectorAll('.files a')].map(a => a.href)")
    assert [Path(link).name for link in links] == ["video.mp4", "poster.jpg"]
    for expected in (1, 2, 3, 4, 4):  # the last has no next
        page.press("ArrowRight", 39)
        shows(page, *names(expected))
    page.wait("/prepare/.test(document.querySelector('dialog .facts').innerText)")
    assert FAILED["message"] in page.eval("document.querySelector('dialog').innerText")
    page.press("ArrowLeft", 37)
    shows(page, *names(3))
    page.press("Escape", 27)
    page.wait("!document.querySelector('dialog').open && !document.querySelector('dialog video')")
    assert page.eval("location.hash") == ""


def test_an_open_work_has_an_address_and_back_closes_it(page, folder):
    opened(page, folder)
    page.click(".card:nth-child(4) .title")
    page.wait("document.querySelector('dialog').open")
    address = page.eval("location.hash")
    page.eval("history.back()")
    page.wait("!document.querySelector('dialog').open")
    opened(page, folder / "empty")
    opened(page, folder, address)
    shows(page, "apple")


def test_an_empty_collection_says_so(page, folder):
    opened(page, folder / "empty")
    assert "No works yet" in page.eval("document.querySelector('main').innerText")
    assert page.eval("document.querySelector('form.tools').hidden")


def test_many_works_are_hung_while_scrolling_and_by_pages(page, folder):
    opened(page, folder / "many")
    first = page.wait("document.querySelectorAll('.card').length")
    assert first < 200
    page.wait(
        "(scrollTo(0, document.body.scrollHeight),"
        " document.querySelectorAll('.card').length === 480)",
        seconds=20,
    )
    page.click(".pager [data-step='1']")
    page.wait("document.querySelector('.card .title').textContent === 'No 480'")
    assert "page=2" in page.eval("location.hash")
    page.choose("[name=q]", "no 999")
    until(page, ["No 999"])


def test_a_bucket_under_a_prefix(page, folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/a%20collection%20%231%20%C3%A9"
        page.open(f"{base}/index.html")
        until(page, names(0, 1, 2, 3, 4))
        page.wait("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        page.hover(".card .frame")
        page.wait("document.querySelector('.wall video')?.currentTime > 0.1")
        assert all(url.startswith((base, "data:")) for url in page.requests)
        server.shutdown()
