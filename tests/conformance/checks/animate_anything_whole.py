"""AnimateAnything from the image files to the frames, through the interface users have."""

from functools import partial
from typing import Any

import numpy as np
import torch
from animate_anything_case import AnimateAnythingCase, PathName
from animate_anything_stages import FINAL, PATHS, UPDATES, check_states

Case = AnimateAnythingCase

#: Levels of 255, and the share of values that may differ at all.
LEVEL, LEVELS_DIFFERING = 1, 0.01
#: A level is 8e-3 of the decoded range.
DECODED = 1e-4


def _close_paths(case: Case, name: str, path: PathName, states: list[torch.Tensor]) -> None:
    recorded = case.tensors[f"vsds.{path}"]
    assert len(states) == len(recorded), f"{len(states)} updates, recorded are {len(recorded)}"
    for state, wanted in zip(states, recorded, strict=True):
        case.close(name, state, wanted, UPDATES)


def check_distilled(case: Case, path: PathName) -> None:
    """The latents after each update of one path."""
    _close_paths(case, f"vsds.{path}", path, case.distilled[path])


def check_distilled_together(case: Case) -> None:
    """Both paths in one call."""
    states = case.distill(*PATHS)
    for index, path in enumerate(PATHS):
        rows = [state[index : index + 1] for state in states]
        _close_paths(case, f"vsds.{path}, paths together", path, rows)


def check_variant(case: Case, recorded: str) -> None:
    """Final latents of a variant."""
    settings = case.settings(recorded)
    clips = {path: case.static[path] for path in PATHS}
    if settings.distils:
        clips = {path: case.distilled[path][-1][0] for path in PATHS}
    final = case.final(
        recorded,
        None if settings.variant == "baseline" else clips["real"],
        clips["proxy"] if settings.needs_proxy else None,
    )
    name = case.final_name(recorded)
    allowed = FINAL["half" if settings.half_slerp else "exact"]
    case.close(f"{name} ({recorded})", final, case.tensors[name], allowed)


def check_awakened(case: Case) -> None:
    """The released code's own run in one call: latents on the way and at the end, frames."""
    run, final = case.awakened, case.tensors["final.latents"]
    check_states(case, "denoise.states, awakened", run.states, FINAL["half"])
    case.close("final.latents, awakened", run.states[-1], final, FINAL["half"])
    _close_frames(case, "video.uint8, awakened", run.frames)


def check_decoding(case: Case) -> None:
    """Frames of the recorded final latents, and the last one before it is quantised."""
    final, wanted = case.tensors["final.latents"], case.tensors["video.float_last_frame"]
    last = case.video(final)[:, :, -1]
    case.close("video.float_last_frame", last, wanted, DECODED)
    _close_frames(case, "video.uint8", case.decode(final))


def _close_frames(case: Case, name: str, frames: "np.ndarray[Any, Any]") -> None:
    """At most one level off anywhere; off at all in few places."""
    got, wanted = torch.from_numpy(frames), case.tensors["video.uint8"]
    case.close(name, got, wanted, LEVEL)
    share = float((got != wanted).double().mean())
    case.at_most(f"{name}: share differing", share, LEVELS_DIFFERING)


def whole(case: Case) -> dict[str, Any]:
    """The checks of a case by name; the variants are those its case.json lists."""
    return {
        **{f"distilled-{path}": partial(check_distilled, path=path) for path in PATHS},
        "distilled-together": check_distilled_together,
        **{
            f"variant-{name}": partial(check_variant, recorded=name)
            for name in case.facts["variants_noise"]
            if name != "VS_half"  # the released code's own: "awakened"
        },
        "awakened": check_awakened,
        "decoding": check_decoding,
    }
