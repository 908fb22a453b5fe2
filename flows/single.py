"""What the commands beside collections do: one painting to one file; the cards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from catalogs.errors import ConfigError
from epa_core.cards import MODELS, PROXIES, model_card, proxy_card
from flows.report import escaped
from tasks.config import Execution, ModelChoice, Prompts

if TYPE_CHECKING:
    import numpy as np

_FILES = {".mp4": "video.mp4", ".webp": "preview.webp", ".mkv": "frames.mkv"}


def awaken_file(
    image: Path,
    output: Path,
    prompt: str,
    proxy: Path | None,
    model: ModelChoice,
    seed: int,
    steps: int,
) -> None:
    """Animate ``image`` into ``output``. Raises ConfigError, ItemError, UnsupportedError."""
    from tasks import encode
    from tasks.commit import source_type

    if output.suffix.lower() not in _FILES:
        raise ConfigError(f"{output}: the file must end in {', '.join(_FILES)}")
    if len(prompt) > Prompts().max_length:
        raise ConfigError(f"--prompt has {len(prompt)} characters; at most 2000 are allowed")
    if not prompt.strip():
        raise ConfigError("--prompt is empty; say what moves, like 'clouds drift across the sky'")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no folder {output.parent}")
    clip = _awakened(image, prompt, proxy, model, seed, steps)
    card, kind = model_card(model.name), output.suffix.lower()
    height, width = clip.shape[1:3]
    params = encode.Params(
        fps=card.fps, archive=kind == ".mkv", preview_side=max(16, width, height)
    )
    tags = {
        "title": f"{image.stem} (animated)",
        "description": prompt,
        "source_type": source_type(card),
    }
    try:
        output.write_bytes(encode.run(clip, params, tags).files[_FILES[kind]])
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error


def _awakened(
    image: Path,
    prompt: str,
    proxy: Path | None,
    model: ModelChoice,
    seed: int,
    steps: int,
) -> np.ndarray:
    from epa_core.awakening import EPASettings, awaken
    from epa_core.media.images import ImageLimits
    from tasks import models, prepare
    from tasks import proxy as proxies

    card = model_card(model.name)
    size = prepare.Params(area=card.area, multiple=card.multiple)
    painting, original = prepare.run(_read(image), size, ImageLimits())
    if proxy is not None:
        drawn = proxies.given(_read(proxy), painting.size, original)
    else:
        maker = models.proxy_maker(proxies.Params(), "auto")
        drawn = proxies.run(maker, [painting], [prompt], [seed])[0]
    [clip] = awaken(
        models.model(model, Execution()),
        [painting],
        [drawn],
        prompt=prompt,
        seed=seed,
        settings=EPASettings(num_inference_steps=steps),
        num_frames=model.num_frames or card.num_frames,
        width=painting.width,
        height=painting.height,
    )
    return clip


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def print_models(name: str | None) -> None:
    """All cards in two tables, or every field of one."""
    console = Console(soft_wrap=name is not None, highlight=False)
    if name is not None:
        card = proxy_card(name) if name in PROXIES and name not in MODELS else model_card(name)
        for field, value in asdict(card).items():
            console.print(f"{field:16} {escaped(str(value))}")
        return
    table = Table("model", "what", "size", "frames", "licence", box=None)
    for model in MODELS.values():
        side = round(model.area**0.5)
        size = f"{side}x{side}"
        table.add_row(model.name, model.summary, size, str(model.num_frames), model.licence)
    console.print(table)
    table = Table("proxy", "what", box=None)
    for proxy in PROXIES.values():
        table.add_row(proxy.name, proxy.summary)
    console.print(table)
