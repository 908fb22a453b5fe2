"""ConsistI2V from the image files to the frames, through the interface users have."""

from functools import partial

import torch
from consisti2v_case import ConsistI2VCase, PathName
from consisti2v_stages import FINAL, FORWARD, HALF, PATHS
from torch import Tensor
from watching import watching

from epa_core.models.consisti2v import guided

Case = ConsistI2VCase

#: Levels of 255, and the share of values that may differ at all.
LEVEL, LEVELS_DIFFERING = 1, 0.01
#: A level is 4e-3 of the decoded range.
DECODED = 1e-4


def check_first_step(case: Case) -> None:
    """The UNet's answers at the first step of the default run, and the sample after it."""
    recorded = case.tensors
    with watching(case.pipeline.unet) as calls:
        [state] = case.animate(stop_after=1, sample_posterior=True)
    name = "default.step0.unet_out"
    case.close_to_scale(name, calls[0].answer[0], recorded[name], FORWARD)
    name = "default.step0.prev_sample"
    case.close_to_scale(name, state, recorded[name], FORWARD)


@torch.no_grad()
def check_middle_step(case: Case) -> None:
    """The latents half-way, and the guided prediction from the recorded ones."""
    recorded, facts = case.tensors, case.facts
    name = "default.step25.latents_in"
    case.close_to_scale(name, case.drawn[24], recorded[name], FINAL)
    timestep = case.scalars["default.step25.timestep"]
    conditions = {
        "encoder_hidden_states": recorded["text.embeddings_uncond_cond"],
        "first_frame_latents": case.first_frame("real").repeat(2, 1, 1, 1, 1),
        "frame_stride": torch.tensor([float(facts["frame_stride"])] * 2),
    }
    scales = (facts["guidance_scale_txt"], facts["guidance_scale_img"], facts["guidance_rescale"])
    predicted = case.pipeline.predictions(
        recorded[name], torch.tensor(timestep), conditions, "first_frame_latents"
    )
    found = guided(predicted, *scales)
    name = "default.step25.noise_pred_guided"
    case.close_to_scale(name, found, recorded[name], FORWARD)


def check_default(case: Case) -> None:
    """The released script's run, all of it from the seed: final latents and frames."""
    recorded = case.tensors
    final = recorded["default.final_latents"]
    case.close_to_scale("default.final_latents", case.drawn[-1], final, FINAL)
    _close_frames(case, "default.frames_uint8", case.frames(case.drawn[-1]))
    chosen = case.scalars["default.frames_float_sel_idx"]
    with torch.no_grad():
        video = case.family.decode(case.pipeline, final, case.call())
    unit = (video / 2 + 0.5).clamp(0, 1)[:, :, chosen]
    case.close("default.frames_float_sel", unit, recorded["default.frames_float_sel"], DECODED)


def check_three_way(case: Case) -> None:
    """Guidance by text and image: the first step's three predictions, and the final latents."""
    recorded, both = case.tensors, case.facts["both"]
    with watching(case.pipeline.unet) as calls:
        states = case.animate(
            sample_posterior=True,
            num_inference_steps=both["num_inference_steps"],
            image_guidance_scale=both["guidance_scale_img"],
        )
    told = int(calls[0].given["timestep"][0])
    assert told == case.scalars["both.step0.timestep"], f"starts at {told}"
    name = "both.step0.unet_out"
    case.close_to_scale(name, calls[0].answer[0], recorded[name], FORWARD)
    case.close_to_scale("both.final_latents", states[-1], recorded["both.final_latents"], FINAL)


def check_distilled(case: Case, path: PathName) -> None:
    """The latents of one path after all updates, and their number."""
    states = case.distill(path)
    count = case.scalars["epa.tau"]
    assert len(states) == count, f"{len(states)} updates were made, not {count}"
    name = f"epa.{path}.vsds_out"
    case.close_to_scale(name, states[-1], case.tensors[name], FINAL)


def check_awakened(case: Case, half: bool) -> None:
    """Final latents from the recorded paths: fused, re-noised and animated in one call."""
    name = "epa.official_f16.final_latents" if half else "epa.final_latents"
    found = case.awakened(case.refined("real"), case.refined("proxy"), half_slerp=half)
    case.close_to_scale(name, found, case.tensors[name], HALF if half else FINAL)
    if not half:
        _close_frames(case, "epa.frames_uint8", case.frames(found))


def check_everything(case: Case) -> None:
    """Both paths from the image files, then all the rest."""
    paths = {path: case.distill(path)[-1] for path in PATHS}
    real, proxy = (torch.cat([case.first_frame(p), paths[p]], dim=2)[0] for p in PATHS)
    name = "epa.final_latents"
    found = case.awakened(real, proxy)
    case.close_to_scale(f"{name}, from the files", found, case.tensors[name], FINAL)


def _close_frames(case: Case, name: str, frames: Tensor) -> None:
    """At most one level off anywhere; off at all in few places."""
    wanted = case.tensors[name]
    case.close(name, frames, wanted, LEVEL)
    share = float((frames != wanted).double().mean())
    case.at_most(f"{name}: share differing", share, LEVELS_DIFFERING)


WHOLE = {
    "first-step": check_first_step,
    "middle-step": check_middle_step,
    "default": check_default,
    "three-way": check_three_way,
    **{f"distilled-{path}": partial(check_distilled, path=path) for path in PATHS},
    "awakened": partial(check_awakened, half=False),
    "awakened-half-slerp": partial(check_awakened, half=True),
    "everything": check_everything,
}
