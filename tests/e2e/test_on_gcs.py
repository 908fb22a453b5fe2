"""A collection on Google Cloud Storage, spoken over the wire to an emulator.

The emulator does not look at preconditions, so that creates there replace; what is asked of Google
is tested in tests/catalogs/test_store_clouds.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cloud_runs import check_run
from clouds import GoogleEmulator

pytestmark = pytest.mark.server


def test_a_run_on_google_and_nothing_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with GoogleEmulator() as cloud:
        check_run(cloud, monkeypatch, tmp_path)
