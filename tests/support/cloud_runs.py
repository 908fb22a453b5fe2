"""A small collection made on a cloud's store, its pictures there too; then nothing is to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs.catalog import build_source, write_catalog
from catalogs.keys import digest_bytes
from catalogs.storage import Storage, configure
from catalogs.store import Store
from tasks.collection import Collection
from tasks.config import RunConfig


def check_run(cloud: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run three works on `cloud`, look at what lies there, and run them once more."""
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    try:
        run = _run(cloud, tmp_path)
        summary, collection = run_locally(run)
        assert summary.counts == {"done": 3}
        for row in collection.ledger.table().to_pylist():
            for output in row["outputs"]:
                data = collection.store.get(output["path"])
                assert data is not None
                assert digest_bytes(data) == output["sha256"]
        again = Collection.open(run)
        assert again.finished_summary() is not None
        assert again.store.counts == {"list": 1, "get": 1}  # are there reviews; the seal
    finally:
        configure(Storage())


def _run(cloud: Any, tmp_path: Path) -> RunConfig:
    """The run, with settings as its file has them; catalog and pictures lie in the same store."""
    configure(Storage.model_validate(cloud.settings))
    bucket = cloud.bucket()
    folder = write_paintings(tmp_path / "in", 3)
    pictures = Store.open(f"{bucket}/in")
    for path in Path(folder).iterdir():
        pictures.put(path.name, path.read_bytes())
    table = build_source(folder).table.to_pydict()
    table["image_uri"] = [pictures.uri(Path(uri).name) for uri in table["image_uri"]]
    import pyarrow as pa

    from catalogs.schema import SCHEMA

    write_catalog(pa.table(table, SCHEMA), f"{bucket}/in/catalog.parquet")
    catalog = f"{bucket}/in/catalog.parquet"
    execution = {"protocols": [cloud.protocol]}
    return tiny_run(catalog, f"{bucket}/animated", storage=cloud.settings, execution=execution)
