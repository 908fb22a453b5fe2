import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from catalogs.sample import ARTIST, COLUMNS, WORKS, write_sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample") / "made" / "here")


def rows(folder):
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_six_works_and_their_metadata(folder):
    listed = rows(folder)
    assert tuple(listed[0]) == COLUMNS
    assert {row["file_name"] for row in listed} == {p.name for p in folder.glob("*.jpg")}
    assert len(listed) == 6
    assert {row["artist"] for row in listed} == {ARTIST}
    assert all(row["title"] and row["style"] and row["genre"] for row in listed)


def test_one_work_has_no_prompt_so_that_the_template_writes_it(folder):
    assert [row["genre"] for row in rows(folder) if not row["prompt"]] == ["abstract"]


def test_formats_are_mixed_and_pictures_have_texture_everywhere(folder):
    ratios = []
    for work in WORKS:
        with Image.open(folder / work.file_name) as image:
            assert image.mode == "RGB"
            assert 850 <= max(image.size) <= 950
            ratios.append(image.width / image.height)
            grey = np.asarray(image.convert("L"), dtype=float)
        tiles = [tile for band in np.array_split(grey, 8) for tile in np.array_split(band, 8, 1)]
        assert min(tile.std() for tile in tiles) > 3  # a flat area would show no motion
        assert 40 < grey.mean() < 215
    assert sum(ratio > 1.2 for ratio in ratios) >= 2
    assert sum(ratio < 0.85 for ratio in ratios) >= 2
    assert sum(0.95 < ratio < 1.05 for ratio in ratios) == 1


def test_the_same_files_every_time(folder, tmp_path):
    assert digests(write_sample(tmp_path)) == digests(folder)
