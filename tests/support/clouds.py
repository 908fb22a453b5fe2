"""Object stores to test against, spoken to over the wire: moto, Azurite, a GCS emulator.

Each is a context manager with the `url` of its server, a new `bucket()`, the `environment` in which
a client finds it, and the `settings` of a run file that say the rest.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from object_server import S3Server

# Azurite's well-known account: every copy of it has this one.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_CACHE = Path.home() / ".cache" / "epa-azurite" / "node_modules" / ".bin" / "azurite-blob"


class Moto(S3Server):
    """S3."""

    protocol = "s3"
    settings: ClassVar[dict[str, Any]] = {}

    @property
    def variables(self) -> dict[str, str]:
        return self.environment()


def azurite() -> str | None:
    """The Azurite to start: $AZURITE, one on the PATH, or one in the user's cache."""
    found = os.environ.get("AZURITE") or shutil.which("azurite-blob")
    return found or (str(_CACHE) if _CACHE.exists() else None)


class Azurite:
    """Azure Blob Storage; skips the test where it is not installed."""

    protocol = "az"
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        pytest.importorskip("adlfs")
        program = azurite()
        if program is None:
            pytest.skip("Azurite is not installed: npm install azurite@3.35.0, then set AZURITE")
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--silent"]
        options += ["--location", self._folder.name, "--skipApiVersionCheck", "--disableTelemetry"]
        self._process = subprocess.Popen(
            [program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string(self.url)}

    @staticmethod
    def connection_string(url: str) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint={url}/{_ACCOUNT};"
        )

    def by_key(self, url: str) -> tuple[dict[str, str], dict[str, Any]]:
        """The other way to reach it: account and key in the environment, the place in settings."""
        variables = {"AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _KEY}
        return variables, {"az": {"endpoint_url": f"{url}/{_ACCOUNT}"}}

    def __enter__(self) -> Self:
        wait_for(self.port, self._process)
        forget_clients()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()

    def bucket(self) -> str:
        from azure.storage.blob import BlobServiceClient

        name = f"box{secrets.token_hex(6)}"
        with BlobServiceClient.from_connection_string(self.connection_string(self.url)) as client:
            client.create_container(name)
        return f"az://{name}"


class GoogleEmulator:
    """Google Cloud Storage."""

    protocol = "gs"
    variables: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        pytest.importorskip("gcsfs")
        emulator = pytest.importorskip("gcp_storage_emulator.server")
        self.port = free_port()
        self._server = emulator.create_server("127.0.0.1", self.port, in_memory=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        return self.settings_at(self.url)

    @staticmethod
    def settings_at(url: str) -> dict[str, Any]:
        return {"gs": {"endpoint_url": url, "anonymous": True, "project": "test"}}

    def __enter__(self) -> Self:
        self._server.start()
        forget_clients()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def bucket(self) -> str:
        import requests

        name = f"bucket-{secrets.token_hex(6)}"
        asked = requests.post(f"{self.url}/storage/v1/b", json={"name": name}, timeout=10)
        asked.raise_for_status()
        return f"gs://{name}"


def forget_clients() -> None:
    """Let clients look at the environment anew: fsspec keeps them by their arguments alone."""
    for module, name in (
        ("s3fs", "S3FileSystem"),
        ("adlfs", "AzureBlobFileSystem"),
        ("gcsfs.core", "GCSFileSystem"),
    ):
        if module in sys.modules:
            getattr(sys.modules[module], name).clear_instance_cache()


CLOUDS: dict[str, type[Any]] = {"s3": Moto, "az": Azurite, "gs": GoogleEmulator}


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the port is served; an error when its process has ended or 30 seconds have."""
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"no server on port {port}")
