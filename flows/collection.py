"""From the command line to a run: writes the run file, asks the store, starts the flow."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import TYPE_CHECKING, Any

import yaml
from rich.logging import RichHandler

from catalogs import paths, reviews
from catalogs.catalog import build_source, read_catalog, write_catalog
from catalogs.errors import ConfigError, StoreError
from catalogs.storage import configure
from catalogs.store import Store
from epa_core.errors import UnsupportedError
from flows.console import CONSOLE
from flows.engines import check_engine
from flows.wrap_up import Summary
from tasks.collection import Collection, register
from tasks.config import RunConfig
from tasks.failures import RunStopped
from tasks.runfile import UnreadableRunFile, load_run_file, parse_run, parse_run_file
from tasks.works import chosen_works

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("epa")


def prepare_run(source: str, output: str, given: Mapping[str, Any]) -> Collection:
    """Build the catalog of ``source`` into ``output``, write the run file there, open the run.

    ``given`` are settings by dotted name. A run file that is there already keeps the settings that
    are not given again, so hand edits survive.
    """
    _check_places(source, output)
    _reach(given)
    store = Store.open(output)
    tree = _existing(store)
    kept = [name for name in _flat(tree) if name not in given and name not in ("catalog", "output")]
    tree = _tree(given, tree)
    tree |= {"catalog": paths.CATALOG, "output": "."}
    base = store.url.rstrip("/")
    run = parse_run(tree, origin="the run", base=base)  # refuses a wrong setting before any work
    configure(run.storage, run.execution.protocols, own=store.url)
    result = build_source(source, run.columns or None)
    if not result.table.num_rows:
        raise ConfigError(f"{source}: there are no pictures here.")
    decided = reviews.load(store)
    works = chosen_works(run, result.table, decided)  # a wrong filter ends here, likewise
    collection = Collection(run, store, works, reviews=decided)  # and so does a wrong model
    _ = collection.works  # and a text that cannot enter a key
    store.check_writable()
    flat = _flat(tree)
    settings = ", ".join(f"{name}={flat[name]}" for name in sorted(kept) if name in flat)
    if settings:
        log.warning("kept from %s: %s", store.uri(paths.RUN_FILE), settings)
    _warn_of_other_works(store, result.table)
    write_catalog(result, store.uri(paths.CATALOG))
    store.put(paths.CATALOG_REPORT, result.report.to_json().encode(), "application/json")
    for line in _dropped(result.report):
        log.warning(line)
    store.put(paths.RUN_FILE, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())
    return collection


def _reach(given: Mapping[str, Any]) -> None:
    """Put the settings of the store in force; a wrong one is said before the store is asked."""
    storage = _tree(given).get("storage")
    if storage is not None:
        tree = {"catalog": paths.CATALOG, "output": ".", "storage": storage}
        configure(parse_run(tree, origin="the run").storage)


def _check_places(source: str, output: str) -> None:
    """Refuse places that would mix what is read with what is written."""
    for name, place in (("SOURCE", source), ("--output", output)):
        if not place.strip():
            raise ConfigError(f"{name} is empty; name a folder, a file or a URL")
    if "://" in source or "://" in output:
        return
    read, written = (Path(os.path.realpath(place)) for place in (source, output))
    if written.is_relative_to(read) and read.is_dir():
        raise ConfigError(f"--output {output}: it lies in the folder of paintings {source}")


def _warn_of_other_works(store: Store, table: pa.Table) -> None:
    """Say that works of an earlier catalog leave the collection's page; their files stay."""
    if store.head(paths.CATALOG) is None:
        return
    try:
        before = set(read_catalog(store.uri(paths.CATALOG))["id"].to_pylist())
    except ConfigError as error:
        log.warning("the catalog of before is written anew, results stay as they are: %s", error)
        return
    gone = len(before - set(table["id"].to_pylist()))
    if gone:
        log.warning(
            "%d of %d works of this collection are not in the new catalog; their videos stay in "
            "the store but leave the gallery",
            gone,
            len(before),
        )


def open_run(location: str) -> RunConfig:
    """The run of a collection (its folder or URL), or of a run file."""
    if location.endswith((".yaml", ".yml")):
        return load_run_file(location)
    store = Store.open(location)
    data = store.get(paths.RUN_FILE)
    if data is None:
        raise ConfigError(_without_run_file(store, location))
    try:
        return parse_run_file(data, store.uri(paths.RUN_FILE))
    except UnreadableRunFile as error:
        raise ConfigError(f"{error}; mend it, or remove it and {_cure(store)}") from error


def _without_run_file(store: Store, location: str) -> str:
    """That there is no collection, or how one that has lost its run file gets it back."""
    kept = (paths.CATALOG_REPORT, paths.CATALOG, paths.INDEX)
    if not any(store.head(path) for path in kept) and not store.list(paths.RUNS):
        return f"{location}: this is no collection (it has no {paths.RUN_FILE})."
    return f"{location}: its {paths.RUN_FILE} is lost; {_cure(store)}"


def _cure(store: Store) -> str:
    """How a run file is had again; what is recorded needs none and stays."""
    again = f"write it anew with: epa animate SOURCE -o {quote(store.url)}"
    copies = [info for info in store.list(paths.RUNS) if info.path.endswith("/run.yaml")]
    if not copies:
        return f"{again} (with the settings of before)"
    newest = max(copies, key=lambda info: info.path)  # named by their time
    return f"copy {store.uri(newest.path)} to its place, or {again} (with the settings of before)"


def run_collection(collection: Collection) -> Summary:
    """Run the flow; without a server "nothing to do" is answered before one is started."""
    _log_plainly(collection.run.execution.log_level)
    check_engine(collection.run.execution)
    if "PREFECT_API_URL" not in os.environ:
        done = collection.finished_summary()
        if done is not None:
            return Summary.finished(collection, done)
    collection.store.check_writable()
    register(collection)
    with suppress(ValueError):  # not the main thread: whoever runs us deals with signals
        signal.signal(signal.SIGTERM, _interrupt)
    import httpx

    from flows.animate_collection import animate_collection
    from flows.server import start_ephemeral_server

    start_ephemeral_server()
    try:
        return Summary(**animate_collection(collection.run))
    except httpx.TransportError as error:
        return _without_server(collection, error)


def _without_server(collection: Collection, error: Exception) -> Summary:
    """What the store says of a run whose Prefect server went away. Raises RunStopped."""
    done = collection.finished_summary()
    if done is None:
        raise RunStopped(
            f"the Prefect server does not answer any more ({type(error).__name__}); what is "
            "recorded stays recorded, run the same command again"
        ) from error
    log.warning("the Prefect server does not answer any more; it knows nothing of the run's end")
    return replace(Summary.finished(collection, done), nothing_to_do=False)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _existing(store: Store) -> dict[str, Any]:
    try:
        data = store.get(paths.RUN_FILE)
    except StoreError:
        store.check_writable()  # a file in place of a folder, say: one sentence and exit code 2
        raise
    if data is None:
        return {}
    try:
        tree = yaml.safe_load(data)
    except yaml.YAMLError as error:
        wrong = f"{store.uri(paths.RUN_FILE)} is not valid YAML"
        raise ConfigError(f"{wrong}; mend it, or remove it and {_cure(store)}") from error
    return tree if isinstance(tree, dict) else {}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _tree(settings: Mapping[str, Any], tree: dict[str, Any] | None = None) -> dict[str, Any]:
    """Settings by dotted name, as a tree, put into the one given."""
    tree = {} if tree is None else tree
    for name, value in settings.items():
        _set(tree, name, value)
    return tree


def _set(tree: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    if parents and parents[0] == "matrix":  # it goes by dotted names itself
        parents, last = ["matrix"], name.removeprefix("matrix.")
    for parent in parents:
        node = tree.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{name}: {parent!r} holds a value, not settings")
        tree = node
    tree[last] = value


def _dropped(report: Any) -> list[str]:
    return [
        f"left out of the catalog: {count} with {reason.replace('_', ' ')} ({report.first(reason)})"
        for reason, count in report.dropped.items()
    ]


def _log_plainly(level: str) -> None:
    """Log lines to the terminal, past the progress bar."""
    plain = RichHandler(
        console=CONSOLE, show_time=False, show_level=False, show_path=False, markup=False
    )
    handlers = [plain] if CONSOLE.is_terminal else None
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=handlers)
    logging.getLogger("epa").setLevel(level)
    logging.getLogger("prefect.flow_runs").addFilter(_in_a_sentence)


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """Leave out the traceback, here and on Prefect's pages, of an error that a sentence tells."""
    if record.exc_info and isinstance(record.exc_info[1], _TOLD):
        record.exc_info = None
    return True


_TOLD = (ConfigError, UnsupportedError, RunStopped, StoreError)
