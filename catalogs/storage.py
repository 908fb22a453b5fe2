"""How object stores are reached: endpoints, time-outs, patience; never credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from catalogs import addresses, retries
from catalogs.credentials import ADVICE, CREDENTIAL, holds_credentials

# The protocol of the run file -> every name under which fsspec knows it.
ALIASES = {"s3": ("s3", "s3a"), "az": ("az", "abfs", "abfss"), "gs": ("gs", "gcs")}
_CONNECT = 15.0  # seconds to wait for a connection, at most: one that is to come comes soon
_CREDENTIALS = ("key", "secret", "token", "password", "credential", "sas", "connection_string")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_credentials(cls, tree: Any) -> Any:
        """Refuse a credential by its name, before anything quotes its value."""
        names = tree if isinstance(tree, Mapping) else ()
        for name in map(str, names):
            if name not in cls.model_fields and any(part in name.lower() for part in _CREDENTIALS):
                message = "{name} is no setting; " + ADVICE
                raise PydanticCustomError(CREDENTIAL, message, {"name": name})
        return tree


class _Options(_Settings):
    endpoint_url: str | None = None

    @model_validator(mode="after")
    def _plain_endpoint(self) -> Self:
        url = self.endpoint_url
        if url is None:
            return self
        if holds_credentials(url) or "@" in url:
            raise PydanticCustomError(CREDENTIAL, "endpoint_url holds credentials; " + ADVICE)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"endpoint_url: {url!r} is no http(s) address")
        return self


class S3Options(_Options):
    """S3 and stores that speak like it."""

    endpoint_url: str | None = Field(None, description="of a self-hosted store")
    path_style: bool = Field(False, description="https://host/bucket, not https://bucket.host")
    region: str | None = Field(None, description="the client's own if empty")
    anonymous: bool = Field(False, description="public buckets, without credentials")


class AzureOptions(_Options):
    """Azure Blob Storage."""

    account_name: str | None = Field(None, description="AZURE_STORAGE_ACCOUNT_NAME if empty")
    endpoint_url: str | None = Field(None, description="of another service than Azure's own")
    anonymous: bool = Field(False, description="public containers, without credentials")


class GoogleOptions(_Options):
    """Google Cloud Storage."""

    project: str | None = Field(None, description="the client's own if empty")
    endpoint_url: str | None = Field(None, description="of another service than Google's own")
    anonymous: bool = Field(False, description="public buckets, without credentials")


class Storage(_Settings):
    """How object stores are reached; credentials come from the environment alone."""

    s3: S3Options = S3Options()
    az: AzureOptions = AzureOptions()
    gs: GoogleOptions = GoogleOptions()
    timeout: float = Field(60, gt=0, le=3600, description="seconds one request may take")
    patience: float = Field(
        180, ge=0, le=86_400, description="seconds a store that is away is waited for"
    )


_current: Storage | None = None


def configure(
    storage: Storage, protocols: Iterable[str] | None = None, own: str | None = None
) -> None:
    """Use these settings for every store that this process opens from now on.

    They become fsspec's own configuration, so that output, catalogs, tables and pictures all obey
    them. `protocols` are those that catalogs, tables and pictures may have (all, if not given);
    what lies below `own`, the collection's place, may be read whatever its protocol is.
    """
    global _current
    _current = storage
    retries.be_patient(storage.patience)
    addresses.allow(protocols, own)
    _apply(storage)


def current() -> Storage:
    """The settings in force; the defaults are put in force where none were given."""
    global _current
    if _current is None:
        _current = Storage()
        _apply(_current)
    return _current


def _apply(storage: Storage) -> None:
    from fsspec.config import conf

    connect = min(storage.timeout, _CONNECT)
    wanted = {
        "s3": _s3(storage.s3, connect, storage.timeout),
        "az": _azure(storage.az, connect, storage.timeout),
        "gs": _google(storage.gs, storage.timeout),
    }
    for protocol, aliases in ALIASES.items():
        for alias in aliases:
            theirs = _users().get(alias, {})
            conf[alias] = theirs | {
                name: {**theirs.get(name, {}), **value} if isinstance(value, dict) else value
                for name, value in wanted[protocol].items()
            }


@cache
def _users() -> dict[str, dict[str, Any]]:
    """What the user's own fsspec configuration (files, variables) says, before we add to it."""
    from fsspec.config import conf

    names = [alias for aliases in ALIASES.values() for alias in aliases]
    return {name: dict(conf[name]) for name in names if name in conf}


def _s3(options: S3Options, connect: float, timeout: float) -> dict[str, Any]:
    config: dict[str, Any] = {
        "connect_timeout": connect,
        "read_timeout": timeout,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
    }
    if options.path_style:
        config["s3"] = {"addressing_style": "path"}
    found: dict[str, Any] = {"config_kwargs": config, "use_listings_cache": False}
    if options.endpoint_url:
        found["endpoint_url"] = options.endpoint_url
    if options.region:
        found["client_kwargs"] = {"region_name": options.region}
    if options.anonymous:
        found["anon"] = True
    return found


def _azure(options: AzureOptions, connect: float, timeout: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "connection_timeout": connect,
        "read_timeout": timeout,
        "use_listings_cache": False,
    }
    if options.account_name:
        found["account_name"] = options.account_name
    if options.endpoint_url:
        parts = urlsplit(options.endpoint_url)
        found["account_host"] = f"{parts.netloc}{parts.path}".rstrip("/")
    if options.anonymous:
        found["anon"] = True
    return found


def _google(options: GoogleOptions, timeout: float) -> dict[str, Any]:
    found: dict[str, Any] = {"requests_timeout": timeout, "use_listings_cache": False}
    if options.project:
        found["project"] = options.project
    if options.endpoint_url:
        found["endpoint_url"] = options.endpoint_url.rstrip("/")
    if options.anonymous:
        found["token"] = "anon"  # noqa: S105 - gcsfs' name for having none
    return found
