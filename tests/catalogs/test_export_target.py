"""Where an export goes: what it refuses, what it keeps, what it removes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from exports import FORMATS, export, fabricate, tree, works

from catalogs.errors import ConfigError
from catalogs.exports.target import MARKER, check_place
from catalogs.store import Store

ROWS = [{"id": f"w{n}", "title": f"Title {n}", "artist": "X"} for n in range(5)]


@pytest.fixture
def source(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "collection"))


@pytest.fixture
def goal(tmp_path: Path) -> Path:
    return tmp_path / "export"


def written(goal: Path) -> dict[str, int]:
    """Every file -> when it was written, to tell one that was written again."""
    return {path: os.stat(goal / path).st_mtime_ns for path in tree(goal)}


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_again_writes_nothing(form: str, source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    first = export(form, source, goal, chosen)
    assert (first.written, first.kept, first.left_out) == (5, 0, [])
    before = written(goal)
    reads = source.counts["get"]
    again = export(form, source, goal, chosen)
    assert (again.written, again.kept, again.files) == (0, 5, 0)
    assert written(goal) == before
    assert source.counts["get"] == reads


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_missing_or_cut_is_written_again(form: str, source: Store, goal: Path) -> None:
    options: dict[str, Any] = {"shard_works": 2} if form == "webdataset" else {}
    chosen = fabricate(source, ROWS)
    export(form, source, goal, chosen, **options)
    whole = tree(goal)
    media = sorted(path for path in whole if path.endswith((".mp4", ".tar")))
    (goal / media[0]).unlink()
    (goal / media[1]).write_bytes(whole[media[1]][:-1])
    again = export(form, source, goal, chosen, **options)
    assert again.files == 2
    assert tree(goal) == whole


@pytest.mark.parametrize("form", FORMATS)
def test_fewer_more_and_changed_works(form: str, source: Store, goal: Path) -> None:
    """Whatever was there before, the folder is the one that a first export would have made."""
    options: dict[str, Any] = {"shard_works": 2} if form == "webdataset" else {}
    chosen = fabricate(source, ROWS, "poster.jpg")
    changed = fabricate(source, [{**row, "fps_of_key": 12} for row in ROWS[2:4]])
    choices = [chosen[:3], chosen, [*chosen[:2], *changed, chosen[4]], works(ROWS[:1]), chosen]
    for number, choice in enumerate(choices):
        export(form, source, goal, choice, **options)
        fresh = goal.with_name(f"fresh{number}")
        export(form, source, fresh, choice, **options)
        assert tree(goal) == tree(fresh)
        assert {p for p in goal.rglob("*") if p.is_dir() and not list(p.iterdir())} == set()


def test_only_what_changed_is_written(source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    export("folder", source, goal, chosen[:4])
    before = written(goal)
    outcome = export("folder", source, goal, chosen)
    assert (outcome.written, outcome.kept) == (1, 4)
    after = written(goal)
    videos = {path for path in before if path.endswith(".mp4")}
    assert {path: after[path] for path in videos} == {path: before[path] for path in videos}


def test_a_folder_with_other_things_is_refused(source: Store, goal: Path) -> None:
    goal.mkdir()
    (goal / "thesis.doc").write_bytes(b"mine")
    chosen = fabricate(source, ROWS)
    with pytest.raises(ConfigError, match=r"there are other files \('thesis\.doc'.*into-existing"):
        export("folder", source, goal, chosen)
    assert tree(goal) == {"thesis.doc": b"mine"}
    export("folder", source, goal, chosen, adopt=True)
    export("folder", source, goal, chosen[:2])  # ours by now
    assert tree(goal)["thesis.doc"] == b"mine"
    assert len([path for path in tree(goal) if path.endswith(".mp4")]) == 2


def test_an_adopted_name_of_ours_is_written_anew(source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    export("videofolder", source, goal, chosen)
    (goal / MARKER).unlink()
    video = next(path for path in tree(goal) if path.endswith(".mp4"))
    right = tree(goal)
    (goal / video).write_bytes(bytes(len(right[video])))  # of the very size
    outcome = export("videofolder", source, goal, chosen, adopt=True)
    assert outcome.written == 5
    assert tree(goal)[video] == right[video]


def test_other_exports_are_refused(source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    export("folder", source, goal, chosen)
    before = tree(goal)
    with pytest.raises(ConfigError, match="an export as 'folder' is there"):
        export("webdataset", source, goal, chosen, adopt=True)
    with pytest.raises(ConfigError, match=r"of another collection is there.*--into-existing"):
        export("folder", source, goal, chosen, owner="another")
    assert tree(goal) == before
    export("folder", source, goal, chosen[:1], owner="another", adopt=True)
    assert len([path for path in tree(goal) if path.endswith(".mp4")]) == 1


@pytest.mark.parametrize(
    "marker", [b"", b"{", b"[]", b'{"version":1}', b'{"version":1,"format":"folder","files":3}']
)
def test_a_damaged_marker_is_said(source: Store, goal: Path, marker: bytes) -> None:
    goal.mkdir()
    (goal / MARKER).write_bytes(marker)
    with pytest.raises(ConfigError, match=f"its {MARKER} is damaged"):
        export("folder", source, goal, fabricate(source, ROWS))


def test_a_marker_names_no_file_outside(source: Store, goal: Path) -> None:
    outside = goal.parent / "outside.mp4"
    outside.write_bytes(b"mine")
    chosen = fabricate(source, ROWS)
    export("folder", source, goal, chosen)
    marker = json.loads((goal / MARKER).read_bytes())
    marker["files"]["../outside.mp4"] = ["0" * 64, 4]
    (goal / MARKER).write_text(json.dumps(marker))
    export("folder", source, goal, chosen)
    assert outside.read_bytes() == b"mine"


def test_a_card_of_ones_own_stays(source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    export("videofolder", source, goal, chosen[:3])
    export("videofolder", source, goal, chosen)  # ours: it is kept up to date
    assert "5 short videos" in (goal / "README.md").read_text()
    (goal / "README.md").write_text("My words")
    outcome = export("videofolder", source, goal, chosen[:2])
    assert outcome.notes == ["README.md is not ours, or was edited, and stays as it is"]
    assert (goal / "README.md").read_text() == "My words"


def test_lists_never_name_what_is_gone(source: Store, goal: Path, monkeypatch) -> None:
    """The process dies while files are copied: the list of before is gone, too."""
    chosen = fabricate(source, ROWS)
    export("videofolder", source, goal, chosen)
    monkeypatch.setattr(source, "get", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    changed = works([{**row, "fps_of_key": 12} for row in ROWS])
    with pytest.raises(KeyboardInterrupt):
        export("videofolder", source, goal, changed)
    assert not (goal / "data" / "metadata.jsonl").exists()
    assert json.loads((goal / MARKER).read_bytes())["complete"] is False


def test_what_killed_writers_left_goes(source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    export("folder", source, goal, chosen[:4])
    (goal / "X" / ".tmp-0123").write_bytes(b"half")
    export("folder", source, goal, chosen)
    assert not [path for path in tree(goal) if ".tmp-" in path]


def test_a_place_that_cannot_be_written(source: Store, tmp_path: Path) -> None:
    chosen = fabricate(source, ROWS)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="is not writable"):
        export("folder", source, tmp_path / "file", chosen)
    with pytest.raises(ConfigError, match="whole disk or bucket"):
        export("folder", source, "memory://bucket", chosen)
    with pytest.raises(ConfigError, match="no object store"):
        export("folder", source, "ftp://host/folder", chosen)


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("c", False),
        ("c/", False),
        (".", False),
        ("c/videos", False),
        ("c/videos/x", False),
        ("c/exports", False),
        ("c/exports/x", True),
        ("c2", True),
        ("d/c", True),
    ],
)
def test_places_within_the_collection(tmp_path: Path, place: str, allowed: bool) -> None:
    home = Store.open(str(tmp_path / "c"))
    if allowed:
        check_place(home, str(tmp_path / place))
    else:
        with pytest.raises(ConfigError, match="collection"):
            check_place(home, f"{tmp_path}/{place}")


@pytest.mark.parametrize("form", ["videofolder", "folder"])
def test_links_are_the_same_files(form: str, source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS, "poster.jpg")
    outcome = export(form, source, goal, chosen, link=True)
    assert outcome.written == 5
    copied = goal.with_name("copied")
    export(form, source, copied, chosen)
    assert tree(goal) == tree(copied)
    videos = [goal / path for path in tree(goal) if path.endswith((".mp4", ".jpg"))]
    assert [os.stat(path).st_nlink for path in videos] == [2] * 10
    assert export(form, source, goal, chosen, link=True).kept == 5
    videos[0].unlink()
    export(form, source, goal, chosen, link=True)
    assert os.stat(videos[0]).st_nlink == 2


def test_damaged_files_are_not_linked(source: Store, goal: Path) -> None:
    chosen = fabricate(source, ROWS)
    Path(source.uri(chosen[1].files[0].path)).write_bytes(b"damaged")
    outcome = export("folder", source, goal, chosen, link=True)
    assert [left.item_id for left in outcome.left_out] == ["w1"]
    assert not [path for path in tree(goal) if "Title 1" in path]


def test_links_where_the_disk_has_none_are_copies(
    source: Store, goal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def refuse(origin: Path, target: Path) -> None:
        if "collection" in str(origin):
            raise OSError(18, "Invalid cross-device link")
        link(origin, target)

    monkeypatch.setattr(os, "link", refuse)
    chosen = fabricate(source, ROWS)
    assert export("folder", source, goal, chosen, link=True).written == 5
    videos = list(goal.rglob("*.mp4"))
    assert [os.stat(path).st_nlink for path in videos] == [1] * 5


@pytest.mark.parametrize("adopted", [False, True])
def test_old_content_is_never_taken_for_new(
    source: Store, goal: Path, monkeypatch: pytest.MonkeyPatch, adopted: bool
) -> None:
    """Same names, same sizes, other content, and the process dies before a file is copied."""
    export("folder", source, goal, fabricate(source, ROWS))
    if adopted:
        (goal / MARKER).unlink()
    changed = fabricate(source, [{**row, "fps_of_key": 12} for row in ROWS])
    with monkeypatch.context() as dying:
        dying.setattr(source, "get", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export("folder", source, goal, changed, adopt=True)
    assert export("folder", source, goal, changed).written == 5
    export("folder", source, goal.with_name("fresh"), changed)
    assert tree(goal) == tree(goal.with_name("fresh"))
