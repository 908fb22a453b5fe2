import json
import math
import re
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.gallery import DETAIL_CHUNK, LIST_CHUNK, script_json, write_gallery
from catalogs.gallery_rows import plain, relative_url
from catalogs.store import Store

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'`{{ 7*7 }}${alert(1)}",
    "<!-- --><![CDATA[",
    "🎨 \U0001f1eb\U0001f1f7",
    "مقهى الليل \u202e gnp.exe",
    "line\u2028and\u2029paragraph\x00\x1b",
    "../../x",
    "\ud800 lone surrogate",
]


def work(item_id="a", **more):
    folder = f"videos/{item_id}-0f0f0f0f/0123-4567"
    files = ("video.mp4", "preview.webp", "poster.jpg")
    outputs = [{"name": n, "path": f"{folder}/{n}", "sha256": "ab" * 32, "bytes": 1} for n in files]
    return {"item_id": item_id, "status": "done", "outputs": outputs, **more}


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "out"))


def written(store):
    """All files of the gallery by path."""
    paths = ["index.html", *(entry.path for entry in store.list("gallery"))]
    return {path: store.get(path).decode("utf-8") for path in paths}


def calls(files, name):
    """What the scripts hand over by one function, as entries in the page's order."""
    order = re.findall(r'src="([^"]+)"', files["index.html"])
    paths = sorted(files, key=lambda path: order.index(path) if path in order else -1)
    found = []
    for path in paths:
        match = re.fullmatch(rf"epaGallery\.{name}\((.*)\);\n", files[path], re.DOTALL)
        if match:
            call = json.loads(match[1])
            entries = [dict(zip(call["fields"], row, strict=True)) for row in call["rows"]]
            found.append((call, entries))
    return found


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def test_a_collection_becomes_a_page_with_its_figures(store):
    rows = [
        work("a", model="wan", duration=2.0),
        work("b", model="wan", duration=61.0),
        {"item_id": "c", "status": "failed", "code": "truncated", "message": "Too short."},
        {"item_id": "d", "status": None},
    ]
    assert write_gallery(store, iter(rows), title="Works", run={"seconds": 7201}) == "index.html"
    text = " ".join(" ".join(Page(written(store)["index.html"]).texts).split())
    assert "done 2" in text
    assert "failed 2" in text
    assert "1 min 3 s" in text
    assert "2 h 0 min" in text
    assert "preview model" not in text


def test_the_preview_model_wears_its_badge(store):
    write_gallery(store, [work(model="preview")], title="Works")
    assert "not the paper’s quality" in written(store)["index.html"]


@pytest.mark.parametrize("rows", [[], [{}], [{"outputs": None, "style": None, "item_id": None}]])
def test_missing_fields_are_no_trouble(store, rows):
    write_gallery(store, rows, title="")
    files = written(store)
    assert "<title>Gallery</title>" in files["index.html"]
    assert [len(entries) for _, entries in calls(files, "works")] == [len(rows)] * len(rows)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(store, text):
    fields = ("title", "artist", "style", "prompt", "code", "message", "model", "genre", "key")
    fields += ("cell", "variant")
    row = work(**dict.fromkeys(fields, text)) | {"item_id": text}
    write_gallery(store, [row], title=text, run={"finished_at": text})
    files = written(store)
    page = Page(files["index.html"])
    assert {tag for tag, _ in page.tags} <= SAFE_TAGS
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)
    for path, script in files.items():
        if path.startswith(("gallery/works", "gallery/detail")):
            assert script.isascii()
            assert not set(script) & set("<>&")
    (_, (entry,)), *_ = calls(files, "works")
    assert entry["id"] == text.replace("\u202e", r"\u202e")  # two ids stay two
    assert entry["prompt"] == text.replace("\u202e", "")


SAFE_TAGS = {
    *("html", "head", "meta", "title", "link", "script", "body", "header", "main", "footer"),
    *("section", "kbd"),
    *("a", "h1", "h2", "p", "strong", "div", "dl", "dt", "dd", "span", "cite", "time", "nav"),
    *("form", "label", "input", "select", "option", "output", "button", "dialog", "noscript"),
}


def test_the_page_asks_for_nothing_from_elsewhere(store):
    write_gallery(store, [work()], title="Works")
    files = written(store)
    page = Page(files["index.html"])
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert all(link.startswith(("gallery/", "#")) for link in links)
    assert all(link in files for link in links if link.startswith("gallery/"))
    assert not any("style" in attrs for _, attrs in page.tags)
    everything = "".join(text for path, text in files.items() if not path.endswith(".svg"))
    assert "http://" not in everything
    assert "https://" not in everything
    assert "innerHTML" not in everything


def test_entries_carry_relative_encoded_addresses(store):
    row = work() | {
        "outputs": [
            {"name": "video.mp4", "path": "videos/a b#1?é%/v+1.mp4"},
            {"name": "poster.jpg", "path": "videos/a b#1?é%/poster.jpg"},
            {"name": "bad", "path": "../../etc/passwd"},
            {"name": "worse", "path": "javascript:alert(1)"},
        ]
    }
    write_gallery(store, [row], title="Works")
    (_, (entry,)), *_ = calls(written(store), "works")
    assert entry["base"] == "videos/a%20b%231%3F%C3%A9%25/"
    assert (entry["video"], entry["poster"]) == ("v%2B1.mp4", "poster.jpg")
    (_, (more,)), *_ = calls(written(store), "details")
    assert [file["url"] for file in more["outputs"][2:]] == [None, "javascript%3Aalert%281%29"]


@pytest.mark.parametrize("path", ["", "/x", "x/", "../x", "a/../b", "./a", "a//b", ".."])
def test_paths_out_of_the_collection_get_no_address(path):
    assert relative_url(path) is None


@given(st.lists(st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1)))
def test_addresses_round_trip_and_hold_only_safe_characters(parts):
    url = relative_url("/".join(parts))
    if not parts or {".", ".."} & set(parts):
        assert url is None
    else:
        assert re.fullmatch(r"[A-Za-z0-9_.~%/-]+", url)
        assert unquote(url) == "/".join(parts)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner)))
def test_script_json_keeps_the_value_and_cannot_leave_its_script(value):
    text = script_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set(text) & set("<>&")


def test_plain_values():
    assert plain([1.0, math.nan, math.inf, None, True]) == [1.0, None, None, None, True]
    assert plain(0.123456789) == 0.123457
    assert plain({"a": (1, b"x")}) == {"a": [1, "b'x'"]}
    assert plain(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02 00:00:00+00:00"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/home/anna/secret project/sea.jpg", "sea.jpg"),
        ("C:\\Users\\anna\\sea.jpg", "sea.jpg"),
        ("file:///home/anna/sea.jpg", "sea.jpg"),
        ("parquet:///home/anna/p.parquet#row_group=3&row=17", "p.parquet#row_group=3&row=17"),
        ("https://key:secret@example.org/a/sea.jpg?signature=x", "https://example.org/a/sea.jpg"),
        ("s3://bucket/a/sea.jpg", "s3://bucket/a/sea.jpg"),
        ("http://[broken", None),
        ("", None),
    ],
)
def test_the_page_tells_no_local_folder_and_no_credentials(store, uri, shown):
    write_gallery(store, [work(source_uri=uri)], title="Works")
    (_, (more,)), *_ = calls(written(store), "details")
    assert more["source_uri"] == shown


def test_seeds_keep_all_their_digits(store):
    write_gallery(store, [work(seed=2**63 - 1)], title="Works")
    (_, (more,)), *_ = calls(written(store), "details")
    assert more["seed"] == str(2**63 - 1)


def test_styles_read_as_people_write_them(store):
    rows = [work(style="Post_Impressionism"), work(style=["Cubism", "Cubism", "Art_Nouveau", ""])]
    write_gallery(store, rows, title="Works")
    (_, entries), *_ = calls(written(store), "works")
    assert [entry["style"] for entry in entries] == [
        ["Post Impressionism"],
        ["Cubism", "Art Nouveau"],
    ]


def test_many_works_come_in_parts_and_small(store):
    count = LIST_CHUNK + DETAIL_CHUNK + 1
    rows = [work(f"w{i}", title=f"Work {i}", prompt="Clouds drift") for i in range(count)]
    write_gallery(store, rows, title="Works")
    files = written(store)
    parts = calls(files, "works")
    assert [call["start"] for call, _ in parts] == [0, LIST_CHUNK]
    assert [entry["id"] for _, entries in parts for entry in entries] == [
        r["item_id"] for r in rows
    ]
    named = [path for call, _ in parts for path in call["details"]]
    assert len(named) == math.ceil(LIST_CHUNK / DETAIL_CHUNK) + 2
    assert set(named) <= files.keys()
    size = sum(len(text) for path, text in files.items() if path.startswith("gallery/works"))
    assert size / count < 300


def test_writing_again_uploads_only_the_page_and_drops_what_is_stale(store):
    rows = [work(f"w{i}") for i in range(3)]
    write_gallery(store, rows, title="Works")
    before = written(store)
    store.counts.clear()
    write_gallery(store, rows, title="Works")
    assert store.counts == Counter(list=1, put=1)
    assert written(store) == before
    write_gallery(store, rows[:2], title="Works")
    after = written(store)
    assert len(after) == len(before)
    stems = [Path(path).name.split(".")[0] for path in after.keys() - before.keys()]
    assert sorted(stems) == ["detail", "works"]


def test_memory_of_a_large_gallery_is_bounded_by_its_rows(store):
    rows = [work(f"w{i}", prompt="Clouds drift " * 5) for i in range(2000)]
    tracemalloc.start()
    write_gallery(store, rows, title="Works")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(rows) < 12_000
