"""Rows with measures, timings and failures as a large run leaves them, without the run."""

from __future__ import annotations

from typing import Any

import numpy as np
from fabricated import START, key_of

from catalogs import paths
from catalogs.records import conform, utc_text

STYLES = ("Impressionism", "Post_Impressionism", "Ukiyo_e", "Realism", "Cubism", "Rococo", None)
FLAGS = ("good", "good", "good", "static", "cross-fade", "drift", "flicker")
TIMES = {"t_fetch": 0.2, "t_prepare": 0.1, "t_proxy": 6.0, "t_distill": 25.0, "t_animate": 12.0}
TIMES |= {"t_encode": 1.0, "t_upload": 0.5}
MEASURES = ("motion", "motion_top5", "first_frame_ssim", "blend_share", "flicker", "drift")


def measured_table(count: int, *, failed_every: int = 40, artists: int = 200) -> Any:
    """A manifest of so many works (pyarrow.Table); every ``failed_every``th is too large."""
    import pyarrow as pa

    rng = np.random.default_rng(0)
    ids = [f"work-{i:06d}" for i in range(count)]
    keys = [key_of(item) for item in ids]
    failed = np.arange(count) % failed_every == failed_every - 1
    done = ~failed
    columns: dict[str, Any] = {
        "item_id": ids,
        "key": keys,
        "shard_id": ["s"] * count,
        "status": np.where(failed, "failed", "done"),
        "code": [("too_large" if bad else None) for bad in failed],
        "message": [(f"{i} pixels too many" if bad else None) for i, bad in enumerate(failed)],
        "attempt": [1] * count,
        "title": [f"Painting {i}" for i in range(count)],
        "artist": [f"Artist {i}" for i in rng.integers(0, artists, count)],
        "style": [STYLES[i] for i in rng.integers(0, len(STYLES), count)],
        "flag": [
            FLAGS[i] if well else None
            for i, well in zip(rng.integers(0, len(FLAGS), count), done, strict=True)
        ],
        "device": ["cuda:0"] * count,
        "worker": [f"machine:{i % 4}" for i in range(count)],
        "finished_at": [utc_text(START)] * count,
        "model": ["animate-anything"] * count,
        "model_identity": ["local:8a7f6b5c4d3e2f10"] * count,
        "prompt_source": ["template"] * count,
        "duration": np.where(done, 2.0, np.nan),
        "outputs": [
            [_video(item, key)] if well else []
            for item, key, well in zip(ids, keys, done, strict=True)
        ],
    }
    for name, mean in TIMES.items():
        columns[name] = rng.gamma(8, mean / 8, count)
    for name in MEASURES:
        columns[name] = np.where(done, rng.beta(2, 5, count), np.nan)
    return conform(pa.table({name: pa.array(values) for name, values in columns.items()}))


def _video(item: str, key: str) -> dict[str, Any]:
    path = paths.output(item, key, "0" * 32, "video.mp4")
    return {"name": "video.mp4", "path": path, "sha256": "0" * 64, "bytes": 1}
