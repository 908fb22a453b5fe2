"""The frames of one painting, outside of any collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from catalogs.codes import kind
from catalogs.errors import ConfigError
from catalogs.validation import printable
from epa_core import weights
from epa_core.awakening import EPASettings, awaken, unread
from epa_core.cards import MODELS, PROXIES, model_card, proxy_card
from epa_core.errors import ItemError, UnsupportedError
from epa_core.media.images import ImageLimits, fit
from tasks import models, prepare
from tasks import proxy as proxies
from tasks.compute import check_frames
from tasks.config import Execution
from tasks.own import mask

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from flows.single import Single

Result = TypeVar("Result")


def awakened(work: Single, say: Callable[[str], None]) -> np.ndarray:
    """uint8 frames [F, H, W, 3]; ``say`` gets a line of all settings, then of what is amiss.

    Raises ConfigError, ItemError, UnsupportedError.
    """
    card, proxy = model_card(work.model.name), _proxy_of(work)
    size = prepare.Params(area=work.area or card.area, multiple=card.multiple)
    painting, original = prepare.run(_read(work.image), size, ImageLimits())
    own = _own_arguments(work, painting.size, original)
    _check_weights(work, proxy)
    if isinstance(proxy, Path):
        drawn = proxies.given(_read(proxy), painting.size, original)
        say(_settings_line(work, painting.size, f"proxy {proxy}"))
    else:
        source = f" ({proxy.source})" if proxy.source else ""
        say(_settings_line(work, painting.size, f"proxy drawn by {proxy.name}{source}"))
        drawn = _in_float32_if_need_be(
            proxy.dtype or proxy_card(proxy.name).dtype,
            lambda dtype: _drawn(work, proxy, dtype, painting, say),
            say,
        )
        if proxy_card(proxy.name).weights is not None:
            models.release()  # their memory belongs to the video model now
    return _in_float32_if_need_be(
        work.model.dtype or card.dtype,
        lambda dtype: _animated(work, dtype, painting, drawn, own, say),
        say,
    )


def _proxy_of(work: Single) -> Path | proxies.Params:
    """The proxy's picture or its maker. ConfigError where nobody named one of them."""
    if work.proxy is not None:
        return work.proxy
    if model_card(work.model.name).weights is None:
        return proxies.Params()
    raise ConfigError(
        f"the model {work.model.name!r} needs a proxy image: name it with --proxy (in a "
        "config.yaml validation_data.proxy_image), or who draws it with --proxy-maker, "
        "like sdxl-refiner"
    )


def _check_weights(work: Single, proxy: Path | proxies.Params) -> None:
    """Raise UnsupportedError for weights that cannot be, before anything is said or drawn."""
    model = work.model
    weights.resolve("model", MODELS, model_card(model.name), model.source, model.revision)
    if not isinstance(proxy, Path):
        maker = proxy_card(proxy.name)
        weights.resolve("proxy", PROXIES, maker, proxy.source, proxy.revision)


def _in_float32_if_need_be(
    dtype: str, go: Callable[[str], Result], say: Callable[[str], None]
) -> Result:
    """``go`` in ``dtype``; once more in float32 where half precision overflows, as in a collection.

    Raises ItemError.
    """
    try:
        return go(dtype)
    except ItemError as error:
        if kind(error.code) != "numeric" or dtype == "float32":
            raise
        reason = error.message
    # Outside of the handler: its traceback would hold the weights.
    models.release()
    say(f"{reason} in {dtype}; once more in float32")
    return go("float32")


def _drawn(
    work: Single, params: proxies.Params, dtype: str, painting: Image, say: Callable[[str], None]
) -> Image:
    """The proxy at the painting's size, drawn on its maker's own canvas from the scan itself."""
    card, canvas = proxy_card(params.name), painting
    if card.area is not None:
        size = prepare.Params(area=card.area, multiple=card.multiple)
        canvas, _ = prepare.run(_read(work.image), size, ImageLimits())
    maker = models.proxy_maker(params.model_copy(update={"dtype": dtype}), "auto")
    [drawn] = proxies.run(maker, [canvas], [work.prompt], [work.seed])
    if cut := maker.cut_off(work.prompt):
        say(f"the proxy maker does not read the end of the prompt: {printable(cut)!r}")
    return fit(drawn, painting.size)


def _animated(
    work: Single,
    dtype: str,
    painting: Image,
    drawn: Image,
    own: dict[str, Any],
    say: Callable[[str], None],
) -> np.ndarray:
    """Frames of the painting. Raises ItemError, UnsupportedError."""
    pipeline = models.model(work.model.model_copy(update={"dtype": dtype}), Execution())
    [clip] = awaken(
        pipeline,
        [painting],
        [drawn],
        prompt=work.prompt,
        seed=work.seed,
        settings=EPASettings(
            num_inference_steps=work.steps,
            half_slerp=work.half_slerp,
            one_stream=work.one_stream,
        ),
        num_frames=work.model.frames,
        width=painting.width,
        height=painting.height,
        guidance_scale=work.model.guidance_scale,
        extras=[own] if own else None,
    )
    check_frames(clip, painting, card=model_card(work.model.name))
    if cut := unread(pipeline, work.prompt):
        say(f"the model does not read the end of the prompt: {printable(cut)!r}")
    return clip


def _own_arguments(
    work: Single, size: tuple[int, int], original: tuple[int, int]
) -> dict[str, Any]:
    """Mask and motion strength as the model's call takes them."""
    read = model_card(work.model.name).per_work
    for name, column, value in (
        ("mask", "mask_uri", work.mask),
        ("motion", "motion_strength", work.motion),
    ):
        if value is not None and column not in read:
            raise UnsupportedError(f"--{name}: the model {work.model.name!r} takes none")
    own: dict[str, Any] = {}
    if work.mask is not None:
        own["mask_image"] = mask(_read(work.mask), size, original)
    if work.motion is not None:
        own["motion_strength"] = work.motion
    return own


def _settings_line(work: Single, size: tuple[int, int], proxy: str) -> str:
    model, card = work.model, model_card(work.model.name)
    named = {
        "guidance": model.guidance_scale,
        "motion strength": work.motion,
        "weights": model.source,
        "revision": model.revision,
        "mask": work.mask,
    }
    parts = [
        f"{model.name}, {model.dtype or card.dtype} on {models.resolve_device('auto')}",
        f"{size[0]}x{size[1]} px",
        f"{model.frames} frames",
        f"{work.fps or card.fps} fps",
        f"{work.steps} steps",
        f"seed {work.seed}",
        *(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in named.items()
            if value is not None
        ),
        proxy,
        *(["half-precision slerp"] if work.half_slerp else []),
        *(["one random stream"] if work.one_stream else []),
    ]
    return printable(f"{work.image}: {', '.join(parts)}; {work.prompt}", 4000)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
