"""What the commands beside collections do: one painting to one or two files."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.errors import ConfigError
from epa_core.cards import model_card, proxy_card
from epa_core.weights import check_dtype
from flows.released import MODEL, ReleasedConfig, result_name
from tasks.config import ModelChoice, Prompts
from tasks.proxy import Params as ProxyParams

if TYPE_CHECKING:
    from collections.abc import Callable


FILES = {
    ".mp4": "video.mp4",
    ".webp": "preview.webp",
    ".mkv": "frames.mkv",
    ".gif": "video.gif",
}


@dataclass(frozen=True)
class Single:
    """One painting to animate, and how; what is None is the model's own.

    ``proxy`` is a picture or who draws it; None: the preview, for a model without weights.
    """

    image: Path
    prompt: str
    model: ModelChoice
    proxy: Path | ProxyParams | None = None
    mask: Path | None = None
    motion: float | None = None
    seed: int = 0
    steps: int = 25
    area: int | None = None
    fps: int | None = None
    half_slerp: bool = False
    one_stream: bool = False


def maker_of(
    name: str | None, weights: str | None, revision: str | None, dtype: str | None
) -> ProxyParams | None:
    """The proxy maker that options name, None where they name none. Raises ConfigError."""
    if name is None:
        if weights is not None or revision is not None:
            raise ConfigError("--proxy-weights and --proxy-revision are those of a --proxy-maker")
        return None
    card = proxy_card(name)
    if card.loader is None:
        raise ConfigError(f"--proxy-maker {name} draws nothing; name the picture with --proxy")
    if card.weights is None:
        dtype = None  # it is the model's then
    return ProxyParams.model_validate(
        {"name": name, "source": weights, "revision": revision, "dtype": dtype}
    )


def single_of(
    config: ReleasedConfig, choice: ModelChoice, maker: ProxyParams | None, **switches: bool
) -> Single:
    """The painting of a released configuration, animated by ``choice`` with the file's settings.

    A ``maker`` draws the proxy anew, whatever the file names.

    A model that the file is not meant for takes neither weights and guidance from it, nor a mask or
    motion strength that it cannot read.
    """
    own = model_card(choice.name).per_work
    filled: dict[str, Any] = {"num_frames": config.num_frames}
    if choice.name == MODEL:
        filled |= {"source": config.model, "guidance_scale": config.guidance_scale}
    return Single(
        image=config.painting,
        prompt=config.prompt,
        model=choice.model_copy(update=filled),
        proxy=maker or config.proxy,
        mask=config.mask if "mask_uri" in own else None,
        motion=config.strength if "motion_strength" in own else None,
        seed=config.seed,
        steps=config.num_inference_steps,
        area=config.area,
        fps=config.fps,
        **switches,
    )


def targets_of(config: ReleasedConfig) -> list[Path]:
    """The files that a released configuration asks for: a GIF and an MP4 in its folder.

    Where its ``output`` is named like a video or picture, that file alone. Raises ConfigError.
    """
    output = config.output
    kind = (mimetypes.guess_type(output.name)[0] or "").partition("/")[0]
    if kind in ("video", "image") and not output.is_dir():
        return [target(output)]
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"output {output} cannot be written: {there} is no writable folder")
    name = result_name(config.painting, config.prompt)
    return [output / f"{name}{ending}" for ending in (".gif", ".mp4")]


def target(output: Path) -> Path:
    """The file, if it can be made: a known ending, in a folder that is there, else ConfigError."""
    if output.suffix.lower() not in FILES:
        raise ConfigError(f"{output}: the file must end in {', '.join(FILES)}")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no folder {output.parent}")
    return output


def readable(picture: Path) -> Path:
    """The path, if there is a file that may be read, else ConfigError."""
    try:
        picture.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{picture} cannot be read: {error.strerror}") from error
    return picture


def awaken_file(work: Single, targets: Sequence[Path], say: Callable[[str], None]) -> None:
    """Animate one painting into ``targets``; ``say`` gets a line of all settings, and warnings.

    Raises ConfigError, ItemError, UnsupportedError.
    """
    from flows.awakened import awakened
    from tasks import encode
    from tasks.commit import source_type

    if len(work.prompt) > Prompts().max_length:
        raise ConfigError(f"--prompt has {len(work.prompt)} characters; at most 2000 are allowed")
    if not work.prompt.strip():
        raise ConfigError("--prompt is empty; say what moves, like 'clouds drift across the sky'")
    card, endings = model_card(work.model.name), {path.suffix.lower() for path in targets}
    if work.model.dtype is not None:
        check_dtype("model", card, work.model.dtype)
    clip = awakened(work, say)
    height, width = clip.shape[1:3]
    params = encode.Params(
        fps=work.fps or card.fps,
        archive=".mkv" in endings,
        gif=".gif" in endings,
        preview_side=max(16, width, height),
    )
    tags = {
        "title": f"{work.image.stem} (animated)",
        "description": work.prompt,
        "source_type": source_type(card),
    }
    files = encode.run(clip, params, tags).files
    for path in targets:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[FILES[path.suffix.lower()]])
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
