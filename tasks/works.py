"""Which works a run is about: rows of the catalog with prompts and decisions; their keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from catalogs import paths
from catalogs.catalog import open_source, select
from catalogs.errors import ConfigError
from catalogs.keys import KEY_BYTES, canonical_json
from catalogs.plan import Work
from catalogs.prompts import assign_prompts
from catalogs.reviews import Reviews
from catalogs.store import Store
from tasks.config import RunConfig
from tasks.keychain import COLUMNS, KeyChain

if TYPE_CHECKING:
    import pyarrow as pa


def source_of(run: RunConfig, store: Store) -> pa.Table:
    """The catalog of a run; ConfigError that says the cure where a collection has lost its own."""
    try:
        return open_source(run.catalog, run.columns or None)
    except ConfigError as error:
        if run.catalog != store.uri(paths.CATALOG):
            raise
        cure = f"write it anew with: epa animate SOURCE -o {quote(store.url)}"
        raise ConfigError(f"{str(error).rstrip('.')}; {cure} (results stay as they are)") from error


def chosen_works(run: RunConfig, catalog: pa.Table, decided: Reviews) -> pa.Table:
    """The works a run is about, with their prompts and what was decided. Raises ConfigError."""
    works = assign_prompts(
        select(catalog, run.where, run.limit),
        prompt=run.prompts.text,
        overrides=run.prompts.overrides,
        provider=run.prompts.provider,
    )
    return decided.overlay(works)


def inputs_key(chains: Sequence[KeyChain], table: pa.Table, review: int = 0) -> str:
    """Name of a plan: hash of all that its keys are made of, which is quicker than making them.

    The number of the last review enters, too: what that rejected is part of a plan, no key's part.
    Equal inputs have equal keys. Different ones may, too: then all is found done by its keys.
    """
    state = hashlib.blake2b(b"epa1/inputs\0", digest_size=KEY_BYTES)
    for chain in chains:
        state.update(f"{canonical_json(chain.constants)}\0".encode())
    columns = {name: table[name].to_pylist() for name in COLUMNS}
    if not any(columns["take"]):
        del columns["take"]
    if review:
        state.update(f"review\0{review}\0".encode())
    # Where a picture lies is no matter where its digest is known: a folder can move.
    known = {"image": columns["image_sha256"]}
    for kind in ("mask", "proxy"):
        known[kind] = [dict(extra or ()).get(f"{kind}_sha256") for extra in columns["extra"]]
    for kind, digests in known.items():
        uris = zip(columns[f"{kind}_uri"], digests, strict=True)
        columns[f"{kind}_uri"] = [None if digest else uri for uri, digest in uris]
    for name, values in columns.items():
        state.update(f"{name}\0{values!r}\0".encode(errors="surrogatepass"))
    return state.hexdigest()


def works_of(chains: Sequence[KeyChain], rows: Iterable[Mapping[str, Any]]) -> Iterator[Work]:
    """Every work with its keys: of each row one for each cell, equal ones once."""
    for index, row in enumerate(rows):
        made: set[str] = set()
        for cell, chain in enumerate(chains):
            work = Work(row["id"], index, chain.keys(row), cell)
            if work.key not in made:
                made.add(work.key)
                yield work
