"""A collection on Azure Blob Storage, spoken over the wire to Azurite."""

from __future__ import annotations

from pathlib import Path

import pytest
from cloud_runs import check_run
from clouds import Azurite

pytestmark = pytest.mark.server


def test_a_run_on_azure_and_nothing_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Azurite() as cloud:
        check_run(cloud, monkeypatch, tmp_path)
