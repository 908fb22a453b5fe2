"""What `epa deploy` does: work pools, the deployments of a run file, automations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, Any

import typer
import yaml
from pydantic import SecretStr, ValidationError

from catalogs.errors import ConfigError
from catalogs.validation import printable
from tasks.config import RunConfig
from tasks.runfile import dump_run, load_run_file

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

_HERE = Path(__file__).parent
# In a clone, and in an installed package.
_FILES = (_HERE.parent / "deploy" / "prefect.yaml", _HERE / "prefect.yaml")
_OF_A_COLLECTION = ("animate-collection", "evaluate", "maintenance")
_ON_A_SCHEDULE = "animate-collection"  # what --cron is about
OFF = "off"


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for; None leaves what deploy/prefect.yaml says."""

    name: str | None = None
    cron: str | None = None
    timezone: str | None = None
    pool: str | None = None
    webhook: SecretStr | None = None


def deploy(run_file: str, wishes: Wishes) -> None:
    """Apply deploy/prefect.yaml for a run file and say what was done. Raises ConfigError."""
    if wishes.name and not fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}", wishes.name):
        raise ConfigError(f"--name {wishes.name!r}: letters, digits, '.', '_', '-' are allowed")
    run = load_run_file(run_file)
    entries = deployments(run, wishes)
    _check_webhook(wishes.webhook)
    with _client() as client:
        for pool in dict.fromkeys(entry["work_pool"]["name"] for entry in entries):
            _say(f"work pool {pool}: {_make_pool(client, pool)}")
        for entry in entries:
            _say(_apply(client, entry))
        _apply_automations(client, wishes.webhook)
    if local := [p for p in (run.catalog, run.output) if "://" not in p]:
        places = " and ".join(printable(place) for place in local)
        _say(f"These must be the same on every machine that works: {places}")


def deployments(run: RunConfig, wishes: Wishes) -> list[dict[str, Any]]:
    """The entries of deploy/prefect.yaml, filled in for a run. Raises ConfigError."""
    file = next((file for file in _FILES if file.exists()), _FILES[0])
    entries: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    storage = run.storage.model_dump(mode="json", exclude_defaults=True) or None
    # What is kept where it lies is worked on as `epa status` and its kin see it.
    place = {"location": run.output, "storage": storage}
    tree = yaml.safe_load(dump_run(run))
    given = {"animate-collection": {"run": tree}, "evaluate": place, "maintenance": place}
    own_pool = entries[0]["work_pool"]["name"]
    for entry in entries:
        kind = entry["name"]
        entry["parameters"] = entry.get("parameters", {}) | given.get(kind, {})
        if kind in _OF_A_COLLECTION and wishes.name:
            entry["name"] = wishes.name
        if wishes.pool and entry["work_pool"]["name"] == own_pool:
            entry["work_pool"]["name"] = wishes.pool
        _set_schedule(entry, wishes if kind == _ON_A_SCHEDULE else Wishes(timezone=wishes.timezone))
    return entries


def _set_schedule(entry: dict[str, Any], wishes: Wishes) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    for schedule in entry.get("schedules", []):
        if wishes.cron == OFF:
            schedule["active"] = False
        elif wishes.cron:
            schedule["cron"] = wishes.cron
        if wishes.timezone:
            schedule["timezone"] = wishes.timezone
        for name in ("cron", "timezone"):
            settings = {"cron": "0 0 * * *", name: schedule[name]}
            try:
                CronSchedule.model_validate(settings)
            except (ValidationError, ValueError):
                raise ConfigError(f"--{name} {schedule[name]!r}: {_ALLOWED[name]}") from None


_ALLOWED = {
    "cron": "five fields are allowed, like '0 3 * * *' (every night at three), or 'off'",
    "timezone": "a name of the IANA database is allowed, like Europe/Berlin",
}


def _check_webhook(url: SecretStr | None) -> None:
    if url is not None and not url.get_secret_value().startswith(("https://", "http://")):
        raise ConfigError("--webhook: an http or https address is allowed (it is not shown here)")


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """A client of the server that is configured. Raises ConfigError, in one sentence."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise ConfigError(
            "`epa deploy` needs a Prefect server: set PREFECT_API_URL, for example "
            "http://127.0.0.1:4200/api (deploy/local.sh starts one)"
        )
    url = str(httpx.URL(url).copy_with(username="", password=""))
    # Errors quote what was sent to the server, the webhook's address perhaps: they are not shown.
    try:
        with get_client(sync_client=True) as client:
            if problem := client.api_healthcheck():
                raise ConfigError(f"{_NO_ANSWER} {url} ({type(problem).__name__})")
            yield client
    except httpx.TransportError as error:
        raise ConfigError(f"{_NO_ANSWER} {url} any more ({type(error).__name__})") from None
    except PrefectHTTPStatusError as error:
        code, place = error.response.status_code, error.request.url.path
        if code in (401, 403):
            raise ConfigError(
                f"the Prefect server at {url} wants a password: set PREFECT_API_AUTH_STRING to "
                "user:password"
            ) from None
        raise ConfigError(f"the Prefect server at {url} answers {code} to {place}") from None


_NO_ANSWER = "no Prefect server answers at PREFECT_API_URL ="


def _make_pool(client: SyncPrefectClient, name: str) -> str:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        return f"there already, of type {client.read_work_pool(name).type}"
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=template)
        )
        return "created, of type process"


def _apply(client: SyncPrefectClient, entry: Mapping[str, Any]) -> str:
    """Create or update one deployment; a line that says so."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.deployments.runner import DeploymentApplyError
    from prefect.exceptions import ObjectNotFound
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    flow = _flow_at(entry["entrypoint"])
    full_name = f"{flow.name}/{entry['name']}"
    try:
        client.read_deployment_by_name(full_name)
        done = "updated"
    except ObjectNotFound:
        done = "created"
    limit = entry.get("concurrency_limit")
    schedules = [Cron(s["cron"], **_but(s, "cron")) for s in entry.get("schedules", [])]
    # Both calls are coroutines in an event loop only.
    deployment: Any = flow.to_deployment(
        entry["name"],
        parameters=entry["parameters"],
        schedules=schedules,
        concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
        description=entry["description"],
        tags=entry["tags"],
        work_pool_name=entry["work_pool"]["name"],
        job_variables=entry["work_pool"].get("job_variables"),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    try:
        deployment.apply()
    except DeploymentApplyError as error:
        raise ConfigError(f"{full_name}: {printable(str(error), 500)}") from None
    when = [f"{s['cron']} {s['timezone']}" for s in entry.get("schedules", []) if s["active"]]
    pool = f"on pool {entry['work_pool']['name']}"
    return f"deployment {full_name}: {done}, {pool}{''.join(f', at {text}' for text in when)}"


def _but(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != name}


def _flow_at(entrypoint: str) -> Flow[Any, Any]:
    module, _, name = entrypoint.rpartition(".")
    flow: Flow[Any, Any] = getattr(import_module(module), name)
    return flow


def _apply_automations(client: SyncPrefectClient, webhook: SecretStr | None) -> None:
    from flows import automations

    wanted = [automations.zombies(), automations.crashed_again()]
    if webhook is not None:
        wanted.append(automations.told(automations.save_webhook(webhook)))
        _say(f"webhook: its address is kept in the block {automations.WEBHOOK}")
    for automation in wanted:
        _say(f"automation {automation.name}: {automations.apply(client, automation)}")


def _say(line: str) -> None:
    typer.echo(line)
