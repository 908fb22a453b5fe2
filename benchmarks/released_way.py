"""One painting in a process of its own, as the paper's authors released it.

`python -m benchmarks.released_way CHECKPOINT PAINTING PROXY PROMPT SIDE FOLDER` writes a GIF, an
MP4 and the frames, and prints when its weights were loaded. The order of the work is theirs: the
prompt is encoded before every loop, the proxy's path waits for the painting's, noise comes from one
stream. The parts are this project's, so that the two ways differ in nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import paper_weights as paper
from epa_core.distill import alphas
from epa_core.fuse import fuse
from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.noise_levels import update_count


@torch.no_grad()
def main(checkpoint: str, painting: str, proxy: str, prompt: str, side: str, folder: str) -> None:
    """Animate the painting at ``side`` x ``side`` px."""
    paper.use_threads()
    torch.manual_seed(paper.SEED)
    pipeline = paper.load(checkpoint)
    pipeline.vae.enable_slicing()
    # On a clock that all processes share.
    print(json.dumps({"ready": time.monotonic(), "cpu": time.process_time()}), flush=True)
    size = (int(side), int(side))
    first = Image.open(painting).convert("RGB")
    second = Image.open(proxy).convert("RGB").resize(first.size)
    conditions = [
        pipeline.encode_images([image.resize(size, Image.Resampling.LANCZOS)], size)
        for image in (first, second)
    ]
    clips = [distilled(pipeline, condition, prompt) for condition in conditions]
    fused = fuse(clips[0][0].cpu(), clips[1][0].cpu(), 1, "slerp").to(clips[0].device)
    latents = denoised(pipeline, fused[None], conditions[0], prompt)
    video = pipeline.decode_latents(latents)[0].permute(1, 2, 3, 0)
    frames = ((video * 0.5 + 0.5).clamp(0, 1) * 255).cpu().numpy().astype(np.uint8)
    out = Path(folder) / Path(painting).stem
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(
        out.with_suffix(".gif"),
        save_all=True,
        append_images=pictures[1:],
        duration=1000 // paper.FPS,
        loop=0,
    )
    with av.open(out.with_suffix(".mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=paper.FPS)
        stream.width, stream.height = size
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    np.save(out.with_suffix(".npy"), frames)


def distilled(pipeline: AnimateAnythingPipeline, condition: Tensor, prompt: str) -> Tensor:
    """One path: the still clip after its updates."""
    predict = Prediction(pipeline, condition, prompt)
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(paper.STEPS, device=condition.device)
    z = condition.repeat(1, 1, paper.FRAMES, 1, 1)
    eps = torch.randn(z.shape).to(z.device)
    steps = alphas("stepwise-decreasing", update_count(paper.STEPS, paper.P))
    for t, alpha in zip(scheduler.timesteps, steps, strict=False):
        output = predict(scheduler.add_noise(z, eps, t[None]), t)
        weight = 1 - scheduler.alphas_cumprod[int(t)]
        z = z - alpha * weight.to(z.device) * (output - eps)
    return z


def denoised(
    pipeline: AnimateAnythingPipeline, clip: Tensor, condition: Tensor, prompt: str
) -> Tensor:
    """The fused clip noised and denoised."""
    predict = Prediction(pipeline, condition, prompt)
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(paper.STEPS, device=condition.device)
    noise = torch.randn(clip.shape).to(clip.device)
    latents = scheduler.add_noise(clip, noise, scheduler.timesteps[:1])
    for t in scheduler.timesteps:
        output = predict(latents, t)
        latents = scheduler.step(output, t, latents, return_dict=False)[0]
    return latents


class Prediction:
    """The guided noise prediction of one loop."""

    def __init__(self, pipeline: AnimateAnythingPipeline, condition: Tensor, prompt: str):
        dtype, device = pipeline.unet.dtype, condition.device
        self.unet, self.dtype = pipeline.unet, dtype
        self.text = pipeline.encode_texts(["", prompt]).to(dtype)
        self.condition = condition.repeat(2, 1, 1, 1, 1).to(dtype)
        self.mask = torch.ones_like(condition[:, :1]).to(dtype)
        self.motion = torch.full((2,), paper.MOTION, device=device)

    def __call__(self, latents: Tensor, t: Tensor) -> Tensor:
        """The noise in ``latents`` [1, 4, L, h, w] at timestep ``t``, float32."""
        clips = latents.repeat(2, 1, 1, 1, 1).to(self.dtype)
        output = self.unet(
            clips,
            t.to(clips.device, torch.float32).repeat(2),
            self.text,
            self.condition,
            self.mask,
            self.motion,
            return_dict=False,
        )[0].float()
        unconditional, conditional = output.chunk(2)
        return unconditional + paper.GUIDANCE * (conditional - unconditional)


if __name__ == "__main__":
    main(*sys.argv[1:])
