"""Hostile and broken works among good ones: each ends in one recorded state, none harms another."""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from local_runner import run_locally
from paintings import painting, tiny_run
from PIL import Image

from tasks.collection import Collection


def _bomb(path: Path) -> None:
    """A PNG whose header says 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))


def _truncated(path: Path) -> None:
    painting(1, 200, 160).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def _palette(path: Path) -> None:
    painting(2).convert("P").save(path, "PNG", transparency=0)


def _rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees: 40x32 is seen as 32x40
    painting(3, 40, 32).save(path, "JPEG", exif=exif)


def _sixteen_bits(path: Path) -> None:
    grey = np.linspace(0, 65535, 40 * 32).reshape(32, 40).astype(np.uint16)
    Image.fromarray(grey).save(path, "PNG")


def _animated(path: Path) -> None:
    painting(4).save(path, "GIF", save_all=True, append_images=[painting(5)])


# file -> how it is made, and the failure code it must end in (None: it becomes a video)
FILES: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "good.png": (lambda path: painting(0).save(path), None),
    "cmyk.jpg": (lambda path: painting(6).convert("CMYK").save(path), None),
    "sixteen.png": (_sixteen_bits, None),
    "palette.png": (_palette, None),
    "animated.gif": (_animated, None),
    "rotated.jpg": (_rotated, None),
    "truncated.jpg": (_truncated, "truncated"),
    "bomb.png": (_bomb, "too_large"),
    "one.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "too_small"),
    "wide.png": (lambda path: painting(7, 160, 40).save(path), "extreme_aspect"),
    "text.jpg": (lambda path: path.write_text("not a picture"), "decode_failed"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "decode_failed"),
    "missing.png": (lambda path: None, "missing_file"),
}
HOSTILE_IDS = ["../../x", "a/b", "<script>alert(1)</script>", "🎨", "C:\\con", ".", "A", "a"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    root = tmp_path_factory.mktemp("bad")
    folder = root / "in"
    folder.mkdir()
    rows = []
    for name, (make, _) in FILES.items():
        make(folder / name)
        rows.append([name, name, "A title", "the water ripples"])
    rows += [[odd, "good.png", odd, "leaves sway"] for odd in HOSTILE_IDS]
    rows.append(["no-prompt", "good.png", "</script><b>", ""])
    rows.append(["long-prompt", "good.png", "Long", "x" * 5000])
    rows += [["twice", "good.png", "First", "waves"], ["twice", "cmyk.jpg", "Second", "waves"]]
    table = root / "works.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "image", "title", "prompt"], *rows])
    (root / "in" / "works.csv").write_bytes(table.read_bytes())
    return run_locally(tiny_run(folder / "works.csv", root / "out"))[1]


def rows_of(collection: Collection) -> dict[str, dict[str, object]]:
    return {row["item_id"]: row for row in collection.ledger.table().to_pylist()}


@pytest.mark.parametrize("name", FILES)
def test_each_file_ends_as_it_should(finished: Collection, name: str) -> None:
    row = rows_of(finished)[name]
    code = FILES[name][1]
    assert (row["status"], row["code"]) == (("failed", code) if code else ("done", None))
    if code:
        assert row["message"]
        assert row["stage_failed"]
        assert not row["retryable"]


@pytest.mark.parametrize("item", HOSTILE_IDS)
def test_hostile_ids_get_a_video_inside_the_collection(finished: Collection, item: str) -> None:
    row = rows_of(finished)[item]
    assert row["status"] == "done"
    root = Path(finished.run.output).resolve()
    for output in row["outputs"]:  # type: ignore[attr-defined]  # a list of mappings
        path = (root / output["path"]).resolve()
        assert path.is_file()
        assert path.is_relative_to(root / "videos")


def test_prompts(finished: Collection) -> None:
    rows = rows_of(finished)
    assert rows["no-prompt"]["status"] == "done"
    assert rows["no-prompt"]["prompt_source"] != "user"
    assert rows["long-prompt"]["code"] == "prompt_too_long"


def test_of_two_rows_of_one_id_the_first_counts(finished: Collection) -> None:
    assert rows_of(finished)["twice"]["title"] == "First"


def test_every_work_has_exactly_one_state(finished: Collection) -> None:
    rows = finished.ledger.table().to_pylist()
    assert sorted(row["item_id"] for row in rows) == sorted(w.item_id for w in finished.works)
    assert len(finished.works) == len(FILES) + len(HOSTILE_IDS) + 3


def test_rotation_is_applied(finished: Collection) -> None:
    row = rows_of(finished)["rotated.jpg"]
    assert (row["source_width"], row["source_height"]) == (32, 40)


def test_the_gallery_holds_no_markup_of_theirs(finished: Collection) -> None:
    for info in finished.store.list("gallery"):
        data = finished.store.get(info.path) or b""
        assert b"<script>alert" not in data
        assert b"</script><b>" not in data
