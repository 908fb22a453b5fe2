"""What `epa catalog download` does: the one place that fetches anything from the web."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from catalogs.addresses import check_address
from catalogs.builders.probing import probe_bytes
from catalogs.catalog import select
from catalogs.download import CATALOG, FORMATS, LEFT_OUT, Download, Downloaded, Picture
from catalogs.download_fetch import Fetcher, FetchLimits
from catalogs.download_network import Passing, Unavailable, parse_allowed
from catalogs.store import Store
from catalogs.validation import ValidationReport, printable
from epa_core.errors import ItemError
from epa_core.media.images import DEFAULT_LIMITS, ImageLimits, decode_image
from flows.bar import Bar
from flows.catalogs_cli import build_catalog, check_target
from flows.console import CONSOLE

# What a run would refuse for its shape is the run's to say; here it must only be a picture.
_ANY_SHAPE = ImageLimits(DEFAULT_LIMITS.max_pixels, min_side=1, max_aspect=math.inf)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class Request:
    """Which works' pictures go where; kind, columns, options as `build_catalog` takes them."""

    source: str
    output: str
    kind: str
    columns: Mapping[str, str]
    options: Mapping[str, Any]
    where: str | None = None
    limit: int | None = None


def download_pictures(
    request: Request,
    limits: FetchLimits,
    *,
    workers: int,
    allowed: Iterable[str],
    contact: str,
) -> bool:
    """Fetch and report; False where works had to be left out. Raises ConfigError, StoreError."""
    fetcher = Fetcher(limits, parse_allowed(allowed), contact)
    store = Store.open(check_address(request.output))
    check_target(store.uri(CATALOG))
    _say_proxies()
    built = build_catalog(request.source, request.kind, request.columns, request.options)
    table = select(built.table, request.where, request.limit)
    if built.report.dropped:
        _print(built.report.lines())
    with Bar("pictures") as progress:
        try:
            result = Download(store, fetcher, look_at, workers, progress.at).run(table)
        finally:
            fetcher.close()
    _report(request.source, table.num_rows, store, result)
    return not result.left_out


def look_at(data: bytes) -> Picture:
    """What a picture is, decoded in full; Unavailable for what is none, Passing for a cut one."""
    try:
        decode_image(data, _ANY_SHAPE)
    except ItemError as error:
        if error.code == "truncated":
            raise Passing(error.code, error.message) from error
        raise Unavailable(error.code, error.message) from error
    facts = probe_bytes(data)
    if facts.get("image_format") not in FORMATS:
        raise Unavailable("decode_failed", "The file is no picture of a known format.")
    return Picture(facts["image_format"], facts["width"], facts["height"])


def _say_proxies() -> None:
    named = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.upper())]
    if named:
        CONSOLE.print(
            f"{' and '.join(named)} is not used: pictures are fetched directly, since behind a "
            "proxy nobody could see whether an address is a private one.",
            highlight=False,
        )


def _report(source: str, works: int, store: Store, result: Downloaded) -> None:
    report = ValidationReport(source=source, rows_in=works)
    for one in result.left_out:
        report.drop(one.code, f"{one.item_id}: {one.message}")
    report.describe(result.table)
    report.counts = {"pictures fetched": result.fetched, "here already": result.kept}
    _print(report.lines())
    _print([f"wrote {store.uri(CATALOG)}"])
    if result.left_out:
        _print([f"left out, one by one: {store.uri(LEFT_OUT)}"])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line, 10_000))  # noqa: T201
