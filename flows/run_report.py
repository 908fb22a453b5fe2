"""The report of a run, at its end and by `epa report`: gathers what the manifest does not tell.

What the command line prints of a run is `flows/report.py`.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import pydantic

from catalogs import paths
from catalogs.errors import StoreError
from catalogs.records import utc_now
from catalogs.run_report import About, RunReport
from catalogs.run_report_columns import Columns
from catalogs.run_report_figures import FIELDS, RunFigures, run_figures
from catalogs.store import Store
from catalogs.store_local import LocalStore
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.runfile import dump_run

log = logging.getLogger("epa")

_EARLIER = 9  # runs before that a report lists
_PACKAGES = (
    *("epa", "torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy"),
    *("pillow", "av", "opencv-python-headless", "pyarrow", "prefect"),
)


def report_run(
    collection: Collection, begun: Mapping[str, int], *, run_id: str, seconds: float
) -> str:
    """Write the report at the end of a run, and its copy among the run's files.

    ``begun``: key -> attempt of the works that the run set out with. The address of the page; empty
    where it could not be made: a report fails no run.
    """
    try:
        return _report_run(collection, begun, run_id, seconds)
    except Exception as error:  # noqa: BLE001  # see above: what was made and recorded stands
        log.warning("no report was written: %s: %s", type(error).__name__, error)
        return ""


def _report_run(
    collection: Collection, begun: Mapping[str, int], run_id: str, seconds: float
) -> str:
    store, now = collection.store, utc_now()
    table = collection.results(FIELDS)
    run = run_figures(Columns(table), begun, run_id=run_id, ended_at=now, seconds=seconds)
    report = _report(collection, table, now, [run, *_runs(store)])

    def of_run(name: str) -> str:
        return paths.run_file(run_id, name)

    store.put(of_run(paths.REPORT_FIGURES), run.model_dump_json(indent=1).encode())
    report.write(store, of_run, base="../../")
    return store.uri(report.write(store))


def write_report(collection: Collection, folder: str | None = None) -> str:
    """Write the report anew, in the collection or into another folder; the address of its page.

    Raises ConfigError, StoreError.
    """
    store = collection.store
    report = _report(collection, collection.results(FIELDS), utc_now(), _runs(store))
    if folder is None:
        return store.uri(report.write(store))
    other = Store.open(folder)
    try:
        return other.uri(report.write(other, base=_way(other, store)))
    except StoreError:
        other.check_writable()  # a file in place of a folder, say: one sentence, exit code 2
        raise


def _report(collection: Collection, table: Any, now: str, runs: Sequence[RunFigures]) -> RunReport:
    """The report of all works of a collection's plan; ``runs`` are its last ones, latest first."""
    run, ledger = collection.run, collection.ledger
    works = Counter(collection.cells[work.cell].label for work in collection.works)
    labels = dict.fromkeys(cell.label for cell in collection.cells)
    about = About(
        title=run.name,
        planned={label: works[label] for label in labels},
        items=collection.table.num_rows,
        configuration=dump_run(_without_folders(run)),
        seed=run.seed,
        written_at=now,
        price_per_hour=run.report.price_per_hour,
        currency=run.report.currency,
        versions=_versions(),
        manifest=sorted(ledger.sources.files),
        unsealed=sum(map(len, ledger.leftovers.values())),
        run=runs[0] if runs else None,
        earlier=runs[1 : 1 + _EARLIER],
    )

    def videos(keys: Sequence[str]) -> dict[str, str]:
        found = ledger.table(keys, ("key", "status", "attempt", "outputs"))
        return {
            row["key"]: output["path"]
            for row in found.to_pylist()
            for output in row["outputs"] or ()
            if output["name"] == "video.mp4"
        }

    return RunReport(table, about, videos)


def _runs(store: Store) -> list[RunFigures]:
    """What the last runs came to, latest first; a damaged file is passed over."""
    names = [info.path for info in store.list(paths.RUNS) if _is_figures(info.path)]
    found = []
    for path in sorted(names, reverse=True)[: 1 + _EARLIER]:  # named by their time
        try:
            found.append(RunFigures.model_validate_json(store.get(path) or b""))
        except (pydantic.ValidationError, StoreError) as error:
            log.debug("%s is passed over: %s", path, error)
    return found


def _is_figures(path: str) -> bool:
    return path.endswith(f"/{paths.REPORT_FIGURES}")


def _without_folders(run: RunConfig) -> RunConfig:
    """The run as a page may show it to anyone: folders of this machine by their names alone."""

    def named(place: str | None) -> str | None:
        if not place or "://" in place or not Path(place).is_absolute():
            return place
        return PurePath(place).name or place

    prompts, model, proxy = run.prompts, run.model, run.proxy
    return run.model_copy(
        update={
            "catalog": named(run.catalog),
            "output": named(run.output),
            "prompts": prompts.model_copy(update={"overrides": named(prompts.overrides)}),
            "model": model.model_copy(update={"source": named(model.source)}),
            "proxy": proxy.model_copy(update={"source": named(proxy.source)}),
        }
    )


def _way(other: Store, root: Store) -> str | None:
    """The relative address of a collection's root from another folder; None between stores."""
    if not isinstance(other, LocalStore) or not isinstance(root, LocalStore):
        return None
    way = os.path.relpath(Path(root.root).resolve(), Path(other.root).resolve())
    return "".join(f"{quote(part)}/" for part in Path(way).parts)


def _versions() -> list[tuple[str, str]]:
    """Versions of what runs here, without loading any of it."""
    found = [("Python", platform.python_version()), ("system", sys.platform)]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return found
