"""A bad work for every failure code, each beside a good one, as a run that meets them."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from paintings import painting, tiny_run
from tiny_animate_anything import write_released_checkpoint

import epa_core.media.video as video
from catalogs.catalog import open_source, write_catalog
from catalogs.storage import Storage, configure
from epa_core import awakening
from epa_core.models.preview import PreviewPipeline
from tasks import compute
from tasks.config import RunConfig

BAD = "the bad one"  # the prompt that injected faults look for
Provoke = Callable[[Path, pytest.MonkeyPatch], RunConfig]
PROVOKED: dict[str, Provoke] = {}


def _provokes(code: str) -> Callable[[Provoke], Provoke]:
    def register(provoke: Provoke) -> Provoke:
        PROVOKED[code] = provoke
        return provoke

    return register


def run_of(
    place: Path, bad: dict[str, str], good: dict[str, str] | None = None, **settings: Any
) -> RunConfig:
    """A run of a bad and a good work, of whose rows these columns are not as usual."""
    painting(0).save(place / "good.png")
    rows = [
        {"id": "bad", "image": "good.png", "prompt": BAD} | bad,
        {"id": "good", "image": "good.png", "prompt": "waves", "license": "CC0"} | (good or {}),
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (place / "works.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return tiny_run(place / "works.csv", place / "out", **settings)


# -- the picture: real files


def _file(code: str, name: str, write: Callable[[Path], object]) -> None:
    def provoke(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
        write(place / name)
        return run_of(place, {"image": name})

    PROVOKED[code] = provoke


def _cut(path: Path) -> None:
    painting(1, 200, 160).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def float_tiff(width: int = 40, height: int = 32) -> bytes:
    """A well-made TIFF of three 32-bit floats a pixel, which Pillow has no mode for."""
    pixels = struct.pack("<f", 0.5) * (3 * width * height)
    end = 8 + 2 + 12 * 10 + 4
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, end), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, end + 12), (277, 3, 1, 3), (278, 3, 1, height)]
    entries += [(279, 4, 1, len(pixels)), (339, 3, 3, end + 6)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return head + tags + bytes(4) + struct.pack("<6H", 32, 32, 32, 3, 3, 3) + pixels


_file("decode_failed", "bad.jpg", lambda path: path.write_text("a letter, not a picture"))
_file("truncated", "bad.jpg", _cut)
_file("unsupported_mode", "bad.tif", lambda path: path.write_bytes(float_tiff()))
_file("too_small", "bad.png", lambda path: painting(1, 8, 8).save(path))
_file("extreme_aspect", "bad.png", lambda path: painting(1, 160, 32).save(path))


@_provokes("too_large")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    painting(1, 200, 160).save(place / "bad.png")
    return run_of(place, {"image": "bad.png"}, execution={"limits": {"max_bytes": 5_000}})


@_provokes("missing_file")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    painting(1).save(place / "bad.png")
    run = run_of(place, {"image": "bad.png"})
    (place / "bad.png").unlink()
    return run


@_provokes("source_changed")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    painting(1).save(place / "bad.png")
    run = run_of(place, {"image": "bad.png"})
    write_catalog(open_source(run.catalog), place / "catalog.parquet")
    painting(2).save(place / "bad.png")
    return run.model_copy(update={"catalog": str(place / "catalog.parquet")})


@_provokes("bad_reference")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return run_of(place, {"image": "https://museum.example/bad.png"})


# -- the rest of the row


@_provokes("no_rights")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    limits = {"require_rights": True}
    return run_of(place, {"license": " "}, execution={"limits": limits})


@_provokes("empty_prompt")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return run_of(place, {"prompt": ""}, prompts={"provider": "none"})


@_provokes("prompt_too_long")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return run_of(place, {"prompt": "waves " * 400})


@_provokes("no_proxy")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return _with_proxies(place, place / "nowhere.png")


@_provokes("proxy_size")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    painting(1, 32, 80).save(place / "other.png")
    return _with_proxies(place, place / "other.png")


def _with_proxies(place: Path, bad: Path) -> RunConfig:
    good = {"proxy": str(place / "good.png")}
    return run_of(place, {"proxy": str(bad)}, good, proxy={"name": "given"})


@_provokes("bad_motion")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return _of_the_paper_s_model(place, {"motion_strength": "a lot"})


@_provokes("no_mask")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return _of_the_paper_s_model(place, {"mask": str(place / "nowhere.png")})


@_provokes("mask_size")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    painting(1, 32, 80).save(place / "mask.png")
    return _of_the_paper_s_model(place, {"mask": str(place / "mask.png")})


@_provokes("unsupported_condition")
def _(place: Path, _: pytest.MonkeyPatch) -> RunConfig:
    return _of_the_paper_s_model(place, {"motion_strength": "3"}, motion_strength=False)


def _of_the_paper_s_model(place: Path, bad: dict[str, str], **unet: Any) -> RunConfig:
    """A run on tiny weights of the model that reads masks and motion strengths."""
    weights = write_released_checkpoint(place / "weights", **unet)
    model = {"name": "animate-anything", "source": str(weights), "dtype": "float32"}
    return run_of(place, bad, variant="V", model=model)


# -- a store that fails: pictures on a server of s3's kind


def _on_server(code: str, endpoint: str) -> None:
    """``endpoint`` may name the port of the misbehaving server, whose buckets are codes."""

    def provoke(place: Path, patch: pytest.MonkeyPatch) -> RunConfig:
        port = (place / "port").read_text()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "nobody")
        there = {"endpoint_url": endpoint.format(port=port), "path_style": True, "region": "x"}
        storage = {"s3": there, "patience": 1, "timeout": 0.5}
        configure(Storage.model_validate(storage))
        return run_of(place, {"image": f"s3://{code.replace('_', '-')}/bad.png"}, storage=storage)

    PROVOKED[code] = provoke


_on_server("store_5xx", "http://127.0.0.1:{port}")
_on_server("store_timeout", "http://127.0.0.1:{port}")
_on_server("unreadable_file", "http://127.0.0.1:{port}")  # answered 403
_on_server("store_error", "http://127.0.0.1:1")  # nobody listens
_on_server("dns", "http://no-such-host.invalid:{port}")


# -- inside the model: injected, but for what this machine can do


def _in_model(code: str, error: Callable[[], Exception]) -> None:
    def provoke(place: Path, patch: pytest.MonkeyPatch) -> RunConfig:
        call = PreviewPipeline.__call__

        def broken(self: PreviewPipeline, **arguments: Any) -> Any:
            if BAD in str(arguments["prompt"]):
                raise error()
            return call(self, **arguments)

        patch.setattr(PreviewPipeline, "__call__", broken)
        return run_of(place, {})

    PROVOKED[code] = provoke


_in_model("cuda_oom", lambda: torch.OutOfMemoryError("CUDA out of memory."))
_in_model("unexpected", lambda: KeyError("a mistake in the code"))
_in_model("host_oom", lambda: no_memory())


def no_memory() -> Exception:
    """What torch's allocator for the CPU really says, of more than any machine has."""
    try:
        torch.empty(1 << 60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("this machine has an exbibyte")


def no_memory_in_cv2() -> Exception:
    """What OpenCV says of more than any machine has."""
    try:
        cv2.resize(np.zeros((8, 8), np.uint8), (1 << 24, 1 << 24))
    except cv2.error as error:
        return error
    raise AssertionError("this machine has 256 TiB")


def _changed_latents(
    place: Path, patch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]
) -> RunConfig:
    animate = awakening.animate_latents

    def changed(pipeline: Any, images: Any, prompts: Any, *rest: Any, **own: Any) -> Any:
        latents = animate(pipeline, images, prompts, *rest, **own)
        pairs = zip(latents, prompts, strict=True)
        return [change(z) if text == BAD else z for z, text in pairs]

    patch.setattr(awakening, "animate_latents", changed)
    return run_of(place, {})


@_provokes("numeric")
def _(place: Path, patch: pytest.MonkeyPatch) -> RunConfig:
    return _changed_latents(place, patch, lambda z: z * float("nan"))


@_provokes("frozen_video")
def _(place: Path, patch: pytest.MonkeyPatch) -> RunConfig:
    """The preview may stand still; here it is judged as a model with weights is."""
    check = compute.check_frames

    def neural(frames: Any, picture: Any, card: Any) -> None:
        check(frames, picture, replace(card, weights="someone/something"))

    patch.setattr(compute, "check_frames", neural)
    return _changed_latents(place, patch, lambda z: z[:, :1].expand_as(z).clone())


@_provokes("encode_failed")
def _(place: Path, patch: pytest.MonkeyPatch) -> RunConfig:
    encode = video._encode_mp4

    def failing(frames: Any, settings: Any, metadata: Any) -> bytes:
        if "bad (animated)" in str(metadata):
            raise av.error.InvalidDataError(1094995529, "Invalid data found")
        return encode(frames, settings, metadata)

    patch.setattr(video, "_encode_mp4", failing)
    return run_of(place, {})
