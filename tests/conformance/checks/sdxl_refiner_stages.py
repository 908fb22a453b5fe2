"""The stages of the SDXL refiner, as seen from outside while our maker draws."""

from typing import Any

import numpy as np
import torch
from golden_case import check_names
from sdxl_refiner_case import RefinerCase
from torch import Tensor
from watching import Call, text_rows

Case = RefinerCase

EMBEDDING = 1e-5
PIXEL = 1e-6
SCHEDULE = 1e-5
#: Of the largest recorded value.
MOMENTS = 1e-5
PREDICTION = 1e-4
LATENTS = 5e-4
PICTURE = 1e-4

REQUIRED = {
    *("painting_u8", "preprocessed", "input_ids", "prompt_embeds", "pooled_prompt_embeds"),
    *("vae_mean", "vae_logvar", "posterior_noise", "init_latents", "noise", "timesteps", "sigmas"),
    *("time_ids", "start_latents", "eps_raw", "eps_guided", "latents", "decoded", "output"),
}
GUIDED = {"negative_input_ids", "negative_prompt_embeds", "negative_pooled_prompt_embeds"}
#: Follow from other tensors: latents over sqrt(sigma^2 + 1), and the output in 255 levels.
NOT_COMPARED = {"model_input", "output_u8"}


def check_tensors(case: Case) -> None:
    """All stages were recorded."""
    check_names(case.tensors, REQUIRED | (GUIDED if case.guided else set()), NOT_COMPARED)


def _rows(calls: list[Call], name: str) -> Tensor:
    """An argument of calls that take a part of the batch each."""
    return torch.cat([call.given[name] for call in calls])


def _with_negative(case: Case, name: str) -> Tensor:
    """Recorded rows as the UNet gets them: negative ones first, where there is guidance."""
    own = case.tensors[name]
    return torch.cat([case.tensors[f"negative_{name}"], own]) if case.guided else own


def check_prompt(case: Case) -> None:
    """Token ids exactly; embeddings and size conditions as the UNet gets them at every step."""
    ids = _with_negative(case, "input_ids")
    wanted = {tuple(row.tolist()) for row in ids}
    read = text_rows(case.drawn.parts["text_encoder"])
    assert read == wanted, f"the text encoder read {read}, not {wanted}"
    for call in case.drawn.parts["unet"]:
        given = call.given["added_cond_kwargs"]
        for name, got in (
            ("prompt_embeds", call.given["encoder_hidden_states"]),
            ("pooled_prompt_embeds", given["text_embeds"]),
        ):
            case.close(name, got, _with_negative(case, name), EMBEDDING)
        case.close("time_ids", given["time_ids"], case.tensors["time_ids"], 0.0)


def check_encoding(case: Case) -> None:
    """The prepared pictures, and mean and log-variance that the VAE makes of them."""
    recorded, parts = case.tensors, case.drawn.parts
    pixels = torch.cat([next(iter(call.given.values())) for call in parts["vae_encoder"]])
    case.close("preprocessed", pixels, recorded["preprocessed"], PIXEL)
    moments = torch.cat([call.answer for call in parts["vae_moments"]])
    mean, logvar = moments.chunk(2, dim=1)
    case.close_to_scale("vae_mean", mean, recorded["vae_mean"], MOMENTS)
    case.close_to_scale("vae_logvar", logvar.clamp(-30, 20), recorded["vae_logvar"], MOMENTS)


def check_schedule(case: Case) -> None:
    """The timesteps that the UNet is told, and the noise levels down to zero."""
    recorded, unet = case.tensors, case.drawn.parts["unet"]
    assert len(unet) == case.facts["steps_run"], f"{len(unet)} steps were made"
    told = torch.stack([torch.as_tensor(call.given["timestep"]).float() for call in unet])
    case.close("timesteps", told, recorded["timesteps"], 0.0)
    sigmas = case.drawn.sigmas[-len(recorded["sigmas"]) :]
    case.close("sigmas", sigmas, recorded["sigmas"], SCHEDULE)


def _unscaled(call: Call, sigma: Tensor, count: int) -> Tensor:
    return call.given["sample"][-count:] * (sigma**2 + 1).sqrt()


def check_start(case: Case) -> None:
    """The two draws of each painting: of the posterior, and the noise that is laid over it."""
    recorded = case.tensors
    sigma, count = recorded["sigmas"][0], len(case.paintings)
    start = _unscaled(case.drawn.parts["unet"][0], sigma, count)
    case.close("start_latents", start, recorded["start_latents"], LATENTS)
    posterior = start - sigma * recorded["noise"]
    case.close("init_latents", posterior, recorded["init_latents"], LATENTS)
    deviation = (recorded["vae_logvar"] / 2).exp()
    scale = case.maker.pipeline.vae.config.scaling_factor
    drawn = recorded["vae_mean"] + deviation * recorded["posterior_noise"]
    case.close("init_latents from posterior_noise", posterior, drawn * scale, LATENTS)


def check_latents(case: Case) -> None:
    """What the UNet predicts, with guidance, and the latents after each step."""
    recorded, drawn = case.tensors, case.drawn
    predicted = torch.stack([call.answer[0] for call in drawn.parts["unet"]])
    case.close_to_scale("eps_raw", predicted, recorded["eps_raw"], PREDICTION)
    latents = torch.stack(drawn.latents)
    case.close("latents", latents, recorded["latents"], LATENTS)
    sigmas = recorded["sigmas"].view(-1, 1, 1, 1, 1).double()
    path = torch.cat([recorded["start_latents"][None], latents]).double()
    guided = path.diff(dim=0) / sigmas.diff(dim=0)
    case.close_to_scale("eps_guided", guided, recorded["eps_guided"], 10 * PREDICTION)


def check_pictures(case: Case) -> None:
    """What is drawn: before it is clamped, and the pictures."""
    recorded, drawn = case.tensors, case.drawn
    decoded = torch.cat([call.answer for call in drawn.parts["vae_decoder"]])
    case.close("decoded", decoded, recorded["decoded"], 2 * PICTURE)
    case.close("output", drawn.pictures, recorded["output"], PICTURE)


def check_one_by_one(case: Case) -> None:
    """Each painting in a call of its own."""
    for index in range(len(case.paintings)):
        alone = case.draw([index])
        wanted = case.tensors["output"][index : index + 1]
        case.close("output, one by one", alone, wanted, PICTURE)


def check_made(case: Case) -> None:
    """The maker's pictures are those of the paintings' size; unscaled, at most a level off."""
    made = case.maker.make(*case.of(range(len(case.paintings))))
    assert [p.size for p in made] == [p.size for p in case.paintings], "sizes differ"
    assert {p.mode for p in made} == {"RGB"}, "modes differ"
    if case.facts["painting_size_hw"] == case.facts["output_size_hw"]:
        got = torch.from_numpy(np.stack([np.asarray(p) for p in made]))
        case.close("made, in levels", got, (case.tensors["output"] * 255).round(), 1.0)


def stages(case: Case) -> dict[str, Any]:
    """The checks of a case by name."""
    checks = {
        "tensors": check_tensors,
        "prompt": check_prompt,
        "encoding": check_encoding,
        "schedule": check_schedule,
        "start": check_start,
        "latents": check_latents,
        "pictures": check_pictures,
        "made": check_made,
    }
    several = len(case.facts["prompts"]) > 1
    return checks | ({"one-by-one": check_one_by_one} if several else {})
