"""What exports hold: datasets, tars and tables, from and to any store."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs
import yaml
from exports import FORMATS, export, fabricate, table_of, tree, works
from huggingface_hub import DatasetCard
from object_server import S3Server

from catalogs.errors import ConfigError, StoreError
from catalogs.exports.card import hub_license, markdown, size_category
from catalogs.exports.copying import in_order
from catalogs.exports.selection import Selection, chosen
from catalogs.exports.videofolder import splits_of
from catalogs.exports.webdataset import shards_of
from catalogs.exports.works import COLUMNS
from catalogs.keys import digest_bytes
from catalogs.safe_text import as_cell
from catalogs.store import Store

ROWS: list[dict[str, Any]] = [
    {
        "id": f"w{n}",
        "title": f"Title {n}",
        "artist": "X",
        "flag": "static" if n == 3 else "good",
        "motion": n / 8,
        "seed": 2**62 + n,
        "source_uri": f"/home/somebody/secret/{n}.jpg",
        "license": "CC0",
        "landing_url": f"https://museum.example/{n}" if n == 4 else None,
        "model": "preview",
        "ai_marking": True,
        "styles": ["Cubism", "Realism"],
    }
    for n in range(6)
]


@pytest.fixture
def source(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "collection"))


def rows_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        assert len(set(names)) == len(names)
        return {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]


# -- videofolder


def test_a_videofolder_holds_every_file_and_says_what_it_is(source: Store, tmp_path: Path) -> None:
    chosen_works = fabricate(source, ROWS, "poster.jpg", "preview.webp")
    export("videofolder", source, tmp_path / "out", chosen_works)
    files = tree(tmp_path / "out")
    rows = rows_of(files["data/metadata.jsonl"])
    assert {row["id"] for row in rows} == {row["id"] for row in ROWS}
    for row in rows:
        video = files["data/" + row["file_name"]]
        assert (row["sha256"], row["bytes"]) == (digest_bytes(video), len(video))
        assert video.startswith(b"video.mp4 of")
        assert files[row["poster"]].startswith(b"poster.jpg of")
        assert files[row["preview"]].startswith(b"preview.webp of")
        assert set(COLUMNS) < set(row)
        number = int(row["id"][1:])
        assert row["seed"] == 2**62 + number
        assert row["motion"] == number / 8
        assert row["source_uri"] == f"{number}.jpg"
        assert row["styles"] == ["Cubism", "Realism"]
        assert row["digital_source_type"].endswith("/algorithmicMedia")
        assert row["ai_marking"] is True
    assert len(files) == 6 * 3 + 3
    assert not [path for path, data in files.items() if b"somebody" in data]


def test_each_column_has_a_value_early(source: Store, tmp_path: Path) -> None:
    """`datasets` takes the type of a column from the first 10 MB of lines."""
    chosen_works = fabricate(source, ROWS)
    export("videofolder", source, tmp_path / "out", chosen_works)
    rows = rows_of((tmp_path / "out" / "data" / "metadata.jsonl").read_bytes())
    assert [row["id"] for row in rows] == ["w0", "w4", "w1", "w2", "w3", "w5"]


def test_splits_have_folders_of_their_own(source: Store, tmp_path: Path) -> None:
    splits = ["train", "val", "Test", "train", "dev", "train"]
    rows = [{**row, "split": split} for row, split in zip(ROWS, splits, strict=True)]
    export("videofolder", source, tmp_path / "out", fabricate(source, rows, "poster.jpg"))
    files = tree(tmp_path / "out")
    found = {
        folder: sorted(row["id"] for row in rows_of(files[f"data/{folder}/metadata.jsonl"]))
        for folder in ("train", "validation", "test")
    }
    assert found == {"train": ["w0", "w3", "w5"], "validation": ["w1", "w4"], "test": ["w2"]}
    assert sum(path.startswith("posters/") for path in files) == 6
    head = DatasetCard(files["README.md"].decode()).data.to_dict()
    assert [entry["split"] for entry in head["configs"][0]["data_files"]] == sorted(found)


@pytest.mark.parametrize("other", [None, "", "holdout"])
def test_no_split_is_made_up(other: str | None) -> None:
    splits = ["train", other, "test"]
    rows = [{**row, "split": split} for row, split in zip(ROWS, splits, strict=False)]
    assert splits_of(works(rows)) == [None, None, None]


# -- webdataset


def test_tars_hold_videos_and_what_is_told_of_them(source: Store, tmp_path: Path) -> None:
    chosen_works = fabricate(source, ROWS, "poster.jpg", "preview.webp")
    outcome = export("webdataset", source, tmp_path / "out", chosen_works, shard_works=4)
    assert (outcome.files, outcome.written) == (2, 6)
    files = tree(tmp_path / "out")
    assert sorted(files) == ["README.md", "epa-000000.tar", "epa-000001.tar", "epa-export.json"]
    found = [members(files[f"epa-00000{n}.tar"]) for n in (0, 1)]
    assert [len(tar) for tar in found] == [16, 8]
    for work in chosen_works:
        tar = next(tar for tar in found if f"{work.key}.mp4" in tar)
        assert digest_bytes(tar[f"{work.key}.mp4"]) == work.files[0].sha256
        assert tar[f"{work.key}.jpg"].startswith(b"poster.jpg of")
        assert tar[f"{work.key}.webp"].startswith(b"preview.webp of")
        assert json.loads(tar[f"{work.key}.json"])["id"] == work.item_id
    names = [name for tar in found for name in tar]
    assert all(name.count(".") == 1 and "/" not in name for name in names)


def test_the_same_manifest_gives_the_same_bytes(source: Store, tmp_path: Path) -> None:
    chosen_works = fabricate(source, ROWS)
    for name in ("one", "two"):
        export("webdataset", source, tmp_path / name, chosen_works, shard_works=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    with tarfile.open(tmp_path / "one" / "epa-000000.tar") as tar:
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar.getmembers()}
    assert facts == {(0, 0, 0, "", "", 0o644)}


def test_shards_keep_to_their_limits() -> None:
    chosen_works = works(ROWS)
    sizes = [len(shard.works) for shard in shards_of(chosen_works, 1 << 20, 4)]
    assert sizes == [4, 2]
    alone = shards_of(chosen_works, 1, None)  # a work that is larger has a shard of its own
    assert [len(shard.works) for shard in alone] == [1] * 6
    assert [shard.path for shard in alone][-1] == "epa-000005.tar"


@pytest.mark.parametrize("works_to_a_shard", [1, 2, 3])
def test_the_length_of_a_shard_is_known_before(
    source: Store, tmp_path: Path, works_to_a_shard: int
) -> None:
    chosen_works = fabricate(source, ROWS)
    export("webdataset", source, tmp_path, chosen_works, shard_works=works_to_a_shard, adopt=True)
    planned = json.loads((tmp_path / "epa-export.json").read_bytes())["files"]
    assert planned
    assert {path: (tmp_path / path).stat().st_size for path in planned} == {
        path: size for path, (_, size) in planned.items()
    }


# -- folder


def test_a_table_for_a_spreadsheet(source: Store, tmp_path: Path) -> None:
    rows = [{**ROWS[0], "title": "=1+1", "artist": "@SUM(1)"}, {**ROWS[1], "prompt": "\x1b[2J\n-"}]
    export("folder", source, tmp_path / "out", fabricate(source, rows, "poster.jpg"))
    files = tree(tmp_path / "out")
    table = list(csv.DictReader(io.StringIO(files["index.csv"].decode(), newline="")))
    assert [row["title"] for row in table] == ["'=1+1", "Title 1"]
    assert table[0]["artist"] == "'@SUM(1)"
    assert table[1]["prompt"] == as_cell("\x1b[2J\n-")
    assert table[0]["styles"] == "Cubism; Realism"
    assert [row["file_name"] for row in table] == ["SUM(1)/1+1 (w0).mp4", "X/Title 1 (w1).mp4"]
    assert sorted(files) == sorted(
        ["SUM(1)/1+1 (w0).jpg", "X/Title 1 (w1).jpg", "epa-export.json", "index.csv"]
        + [row["file_name"] for row in table]
    )


# -- damage


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("harm", ["missing", "cut", "other", "other poster"])
def test_a_damaged_work_is_left_out_and_named(
    form: str, harm: str, source: Store, tmp_path: Path
) -> None:
    chosen_works = fabricate(source, ROWS, "poster.jpg")
    bad = chosen_works[2].files["poster" in harm]
    path = Path(source.uri(bad.path))
    right = path.read_bytes()
    path.write_bytes(right[:-1] if harm == "cut" else right[::-1])
    if harm == "missing":
        path.unlink()
    outcome = export(form, source, tmp_path / "out", chosen_works)
    assert [(left.item_id, left.path) for left in outcome.left_out] == [("w2", bad.path)]
    said = {"missing": "not there", "cut": "bytes, not"}.get(harm, "SHA-256 is")
    assert said in outcome.left_out[0].reason
    assert outcome.written == 5
    files = tree(tmp_path / "out")
    told = b"".join(files.values())
    assert json.loads(files["epa-export.json"])["complete"] is False
    assert chosen_works[2].key[:12].encode() not in told.replace(files["epa-export.json"], b"")
    # Made again, it comes beside the others.
    path.write_bytes(right)
    again = export(form, source, tmp_path / "out", chosen_works)
    assert again.left_out == []
    assert again.written == (6 if form == "webdataset" else 1)
    export(form, source, tmp_path / "fresh", chosen_works)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_but_damage(form: str, source: Store, tmp_path: Path) -> None:
    outcome = export(form, source, tmp_path / "out", works(ROWS))
    assert len(outcome.left_out) == 6
    assert outcome.written == 0
    assert not [path for path in tree(tmp_path / "out") if path.endswith((".mp4", ".tar"))]


# -- cards


def test_the_card_is_one_that_the_hub_reads(source: Store, tmp_path: Path) -> None:
    for form in ("videofolder", "webdataset"):
        export(form, source, tmp_path / form, fabricate(source, ROWS))
        text = (tmp_path / form / "README.md").read_text()
        head = DatasetCard(text).data.to_dict()
        assert head["license"] == "cc0-1.0"
        assert head["size_categories"] == ["n<1K"]
        assert head["task_categories"] == ["image-to-video"]
        assert {"ai-generated", "synthetic", "arxiv:2503.23736", form} <= set(head["tags"])
        assert "**AI-generated.**" in text
        assert "https://arxiv.org/abs/2503.23736" in text
        assert "{{" not in text


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        ([None], {"license": "unknown"}),
        (["CC BY-SA 4.0"], {"license": "cc-by-sa-4.0"}),
        (["CC0", None], {"license": "other", "license_name": "see-column-license"}),
        (["house rules"], {"license": "other"}),
    ],
)
def test_the_licence_of_the_card(
    source: Store, tmp_path: Path, licenses: list[str | None], expected: dict[str, str]
) -> None:
    rows = [{**row, "license": name} for row, name in zip(ROWS, licenses, strict=False)]
    export("videofolder", source, tmp_path / "out", fabricate(source, rows))
    head = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert expected.items() <= head.items()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CC0", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/", "cc-by-nc-nd-4.0"),
        ("CC BY 1.0", None),
        ("Public Domain Mark", None),
        ("all rights reserved", None),
        ("", None),
    ],
)
def test_licences_the_hub_has_a_name_for(text: str, name: str | None) -> None:
    assert hub_license(text) == name


def test_classes_of_size() -> None:
    assert [size_category(n) for n in (0, 999, 1000, 80_097, 10**6, 10**9)] == [
        *("n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M", "10M<n<100M"),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Boats", "Boats"),
        ("<script>x</script>", "&lt;script\\>x&lt;/script\\>"),
        ("[a](b) *c* | `d`", "\\[a\\]\\(b\\) \\*c\\* \\| \\`d\\`"),
        ("one\n\n# two", "one \\# two"),
        ("a\u202eb\x1b", "ab\\\\x1b"),
    ],
)
def test_texts_are_no_markup(text: str, shown: str) -> None:
    assert markdown(text) == shown


# -- choosing


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(), "012345"),
        (Selection(flags=["static"]), "3"),
        (Selection(where="motion >= 0.5"), "45"),
        (Selection(where="landing_url IS NOT NULL AND list_contains(styles, 'Cubism')"), "4"),
        (Selection(where="id = (SELECT max(id) FROM works)"), "5"),
        (Selection(where="motion < 0.5", flags=["good"]), "012"),
        (Selection(where="  "), "012345"),
    ],
)
def test_choosing(selection: Selection, ids: str) -> None:
    assert [name[1:] for name in chosen(table_of(ROWS), selection)["id"].to_pylist()] == list(ids)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(where="motoin > 1"), r"no column 'motoin' \(did you mean 'motion'\?\)"),
        (Selection(where="motion > 100"), r"selects none of the 6 works"),
        (Selection(where="motion >"), r"is not a valid expression"),
        (Selection(where="1; DROP TABLE works"), r"is not a valid expression"),
        (Selection(where="id IN (SELECT * FROM read_text('/etc/passwd'))"), r"not a valid expr"),
        (Selection(flags=["fine"]), r"--flag 'fine': .*there are good \(5\), static \(1\)"),
        (Selection(cells=["p=1"]), r"--cell 'p=1': .*there is none"),
        (Selection(statuses=["failed"]), r"--status 'failed': .*there are done \(6\)"),
    ],
)
def test_choices_that_are_wrong(selection: Selection, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(table_of(ROWS), selection)


# -- threads


def test_results_come_in_order_and_few_are_ahead() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def act(number: int) -> int:
        with lock:
            begun.append(number)
        return number

    for count, number in enumerate(in_order(act, iter(range(100)), threads=2)):
        assert number == count
        assert len(begun) <= count + 4
    assert sorted(begun) == list(range(100))


def test_an_error_ends_it(source: Store, tmp_path: Path) -> None:
    chosen_works = fabricate(source, [{"id": f"w{n:03d}"} for n in range(100)])
    asked = []

    class Gone(type(source)):  # type: ignore[misc]
        def get(self, path: str) -> bytes | None:
            asked.append(path)
            raise StoreError("away")

    with pytest.raises(StoreError, match="away"):
        export("folder", Gone(source.url), tmp_path / "out", chosen_works)
    assert len(asked) < 50


# -- stores


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    return server.bucket()


@pytest.mark.server
@pytest.mark.parametrize("form", FORMATS)
def test_from_store_to_store(form: str, bucket: str, source: Store, tmp_path: Path) -> None:
    """What lies in a bucket is what lies in a folder, whichever store the videos come from."""
    remote = Store.open(f"{bucket}/collection")
    chosen_works = fabricate(remote, ROWS, "poster.jpg")
    fabricate(source, ROWS)
    export(form, source, tmp_path / "local", chosen_works)
    export(form, remote, tmp_path / "down", chosen_works)
    export(form, source, f"{bucket}/a/up", chosen_works)
    outcome = export(form, remote, f"{bucket}/across", chosen_works)
    assert outcome.written == 6
    local = tree(tmp_path / "local")
    assert tree(tmp_path / "down") == local
    for place in ("a/up", "across"):
        store = Store.open(f"{bucket}/{place}")
        parent, _, leaf = store.url.rpartition("/")
        found = [info.path[len(leaf) + 1 :] for info in Store.open(parent).list(leaf)]
        assert {path: store.get(path) for path in found} == local
    # Again, with one work less: a listing, and what changed.
    reads = remote.counts["get"]
    again = export(form, remote, f"{bucket}/across", chosen_works)
    assert (again.kept, again.files) == (6, 0)
    assert remote.counts["get"] == reads
    with pytest.raises(ConfigError, match="other files"):
        export(form, remote, f"{bucket}/a", chosen_works)
