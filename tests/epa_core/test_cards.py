"""Cards: what is listed, what is loaded, what is refused, and what identifies a model."""

import importlib
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from epa_core import weights as digests
from epa_core.cards import (
    MODELS,
    PROXIES,
    load_model,
    load_proxy,
    model_card,
    model_identity,
    proxy_identity,
)
from epa_core.errors import UnsupportedError
from epa_core.weights import DIGEST_WHOLE_BYTES

HUB_MODELS = [name for name, card in MODELS.items() if card.weights and "://" not in card.weights]


def test_reading_the_cards_imports_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys, epa_core.cards as c; c.model_identity('preview'); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'transformers', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", MODELS)
def test_cards_are_complete_and_name_real_classes(name: str) -> None:
    card = MODELS[name]
    assert card.name == name
    module, _, class_name = card.pipeline_class.rpartition(".")
    assert hasattr(importlib.import_module(module), class_name)
    assert card.area % 2 == 0
    assert card.num_frames > 1
    assert card.licence
    assert card.memory
    assert "estimate" in card.memory or name == "preview"


def test_the_preview_loads_quietly_and_is_of_its_class() -> None:
    pipeline = load_model("preview")
    assert type(pipeline).__name__ == "PreviewPipeline"
    assert pipeline.progress_bar(range(1)).disable


@pytest.mark.parametrize("name", [name for name, card in PROXIES.items() if not card.weights])
def test_built_in_proxies_load(name: str) -> None:
    assert proxy_identity(name).startswith(f"{name}@")
    if name == "given":
        with pytest.raises(
            UnsupportedError, match=r"'given' makes no pictures; .* proxy_uri names"
        ):
            load_proxy(name)
    else:
        assert callable(load_proxy(name).make)


def test_a_new_maker_is_a_card_and_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    card = replace(PROXIES["none"], name="mine", version="7")
    monkeypatch.setitem(PROXIES, "mine", card)
    assert type(load_proxy("mine")).__name__ == "NoProxy"
    assert proxy_identity("mine") == "mine@7"


@pytest.mark.parametrize("read", [load_model, model_identity, model_card])
def test_unknown_models_name_the_nearest(read: object) -> None:
    with pytest.raises(UnsupportedError, match="no model named 'prevew'; did you mean 'preview'"):
        read("prevew")  # type: ignore[operator] # each of the three takes a name
    with pytest.raises(UnsupportedError, match="no model named 'zzz'; known are animate"):
        read("zzz")  # type: ignore[operator]


def test_unknown_proxies_name_the_nearest() -> None:
    with pytest.raises(UnsupportedError, match="no proxy named 'givn'; did you mean 'given'"):
        load_proxy("givn")


@pytest.mark.parametrize("name", HUB_MODELS)
def test_hub_models_need_a_revision_and_are_identified_by_it(name: str) -> None:
    weights = MODELS[name].weights
    for read in (load_model, model_identity):
        with pytest.raises(
            UnsupportedError, match=r"needs a revision: .* model\.revision in a run"
        ):
            read(name)
        with pytest.raises(UnsupportedError, match=r"--revision on the .* or name a local folder"):
            read(name)
    assert model_identity(name, revision="abc123") == f"{weights}@abc123"
    assert model_identity(name, "me/mine", "main") == "me/mine@main"


def test_preview_takes_no_source() -> None:
    assert model_identity("preview").startswith("preview@")
    with pytest.raises(UnsupportedError, match="built in and takes no source"):
        load_model("preview", source="somewhere")


def test_wrong_dtypes_and_sources_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="dtype 'int8' is not one of float32, float16"):
        load_model("preview", dtype="int8")
    with pytest.raises(
        UnsupportedError, match=r"model\.dtype = 'float16': the model 'preview' has"
    ):
        load_model("preview", dtype="float16")
    with pytest.raises(
        UnsupportedError, match=r"proxy\.dtype = 'float16': the proxy 'preview' has"
    ):
        load_proxy("preview", dtype="float16")
    for source in ("/no/such/folder", "./missing", "nowhere"):
        with pytest.raises(UnsupportedError, match="neither a folder that exists nor a hub id"):
            load_model("svd", source=source, revision="main")


def test_folders_that_are_no_such_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"model_index\.json is missing"):
        load_model("svd", source=str(tmp_path))
    index = tmp_path / "model_index.json"
    for text in ("{", "[]", "{}"):
        index.write_text(text)
        with pytest.raises(UnsupportedError, match="names no _class_name"):
            load_model("svd", source=str(tmp_path))
    index.write_text(json.dumps({"_class_name": "LTXImageToVideoPipeline"}))
    with pytest.raises(UnsupportedError, match=r"holds a LTX.*ltx-video.*'svd' needs Stable"):
        model_identity("svd", str(tmp_path))
    index.write_text(json.dumps({"_class_name": "StableVideoDiffusionPipeline"}))
    with pytest.raises(UnsupportedError, match="'svd' could not be loaded from"):
        load_model("svd", source=str(tmp_path))


def folder(path: Path, weights: bytes) -> Path:
    path.mkdir()
    (path / "unet").mkdir()
    (path / "unet" / "weights.safetensors").write_bytes(weights)
    (path / "model_index.json").write_text('{"_class_name": "StableVideoDiffusionPipeline"}')
    return path


def test_local_models_are_identified_by_content_not_by_path(tmp_path: Path) -> None:
    big = bytearray(DIGEST_WHOLE_BYTES + 1)
    one, two = folder(tmp_path / "one", bytes(big)), folder(tmp_path / "two", bytes(big))
    identity = model_identity("svd", str(one))
    assert identity.startswith("local:")
    assert identity == model_identity("svd", str(two))
    (two / ".cache").mkdir()
    (two / ".cache" / "lock").write_text("x")
    assert identity == model_identity("svd", str(two))
    big[-1] = 1
    (two / "unet" / "weights.safetensors").write_bytes(bytes(big))
    assert identity != model_identity("svd", str(two))
    (one / "extra.json").write_text("{}")
    assert identity != model_identity("svd", str(one))


SCALE = {
    "DIGEST_WHOLE_BYTES": 6144,
    "DIGEST_END_BYTES": 1024,
    "DIGEST_BLOCK_BYTES": 64,
}  # a thousandth of the real ones: the same layout in files of kilobytes


def test_changed_tensors_in_the_middle_of_a_big_file_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SCALE.items():
        monkeypatch.setattr(digests, name, value)
    size = 64 * 1024
    model = folder(tmp_path / "model", bytes(size))
    weights = model / "unet" / "weights.safetensors"
    identity = model_identity("svd", str(model))
    # Between the ends, any stretch longer than a gap between two blocks meets a block.
    (ends, *blocks) = digests._digested_spans(size)
    gap = blocks[1][0] - sum(blocks[0])
    assert gap <= size / 63
    for start in range(ends[1], size - 1024 - gap, 517):
        changed = bytearray(size)
        changed[start : start + gap + 1] = b"\1" * (gap + 1)
        weights.write_bytes(changed)
        assert identity != model_identity("svd", str(model)), start
    # What the documentation says it can miss: a change between two blocks.
    missed = bytearray(size)
    missed[sum(blocks[0])] = 1
    weights.write_bytes(missed)
    assert identity == model_identity("svd", str(model))


@pytest.mark.parametrize("size", [0, 1, 6 * 2**20, 6 * 2**20 + 1, 64 * 2**20 + 7, 30 * 2**30 + 5])
def test_what_is_digested_lies_in_the_file_in_order(size: int) -> None:
    spans = digests._digested_spans(size)
    assert spans[0][0] == 0
    assert sum(spans[-1]) == size
    assert all(sum(one) <= other[0] for one, other in itertools.pairwise(spans))
    assert sum(length for _, length in spans) <= 6 * 2**20
