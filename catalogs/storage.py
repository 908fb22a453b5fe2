"""How object stores are reached: endpoints, time-outs, patience; never credentials."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class S3Options(_Settings):
    """S3 and stores that speak like it."""

    endpoint_url: str | None = Field(None, description="of a self-hosted store")
    path_style: bool = Field(False, description="https://host/bucket, not https://bucket.host")
    region: str | None = Field(None, description="the client's own if empty")
    anonymous: bool = Field(False, description="public buckets, without credentials")


class AzureOptions(_Settings):
    """Azure Blob Storage."""

    account_name: str | None = Field(None, description="AZURE_STORAGE_ACCOUNT_NAME if empty")
    endpoint_url: str | None = Field(None, description="of another service than Azure's own")
    anonymous: bool = Field(False, description="public containers, without credentials")


class GoogleOptions(_Settings):
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


def configure(storage: Storage) -> None:
    """Use these settings for every store that this process opens from now on."""
