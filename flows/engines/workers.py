"""The engine `workers`: one flow run of the deployment `animate-shard` for every shard."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from shlex import quote
from typing import Any, ParamSpec, Self, TypeVar

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Cancelling, Crashed

from catalogs.errors import ConfigError
from flows.engines.base import Counts, Ending, Missing
from flows.engines.dispatch import dispatch
from flows.engines.states import HELD, REFUSED, STOPPED
from tasks.collection import Collection
from tasks.failures import RunStopped
from tasks.recycle import Pass

log = logging.getLogger("epa")
_START = 120.0  # seconds a flow run may take from its start to its first lease, at least
_PAGE = 200  # flow runs in one answer of the server
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Workers:
    """Lets the workers of a Prefect work pool do both passes over each shard."""

    two_passes = False

    def __init__(self) -> None:
        self._client = get_client(sync_client=True)

    def check(self, collection: Collection, shard_id: str) -> None:
        """Nothing: this machine need not have the model, and whoever does a shard says so."""

    def go(self, name: Pass, collection: Collection, works: Mapping[str, int]) -> Counts:
        """As every engine; both passes at once."""
        hands = _FlowRuns(collection, self._client)
        yield from dispatch(collection, works, hands, recorded=True)

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._client.__exit__(*error)


def check_deployment(name: str) -> None:
    """Raise ConfigError where there is no such deployment, or one that does no shards."""
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise ConfigError(
                f"execution.deployment = {name!r}: the Prefect server has no such deployment; "
                "create it with: epa deploy (or: prefect deploy --all)"
            ) from None
    schema = deployment.parameter_openapi_schema
    if not {"run", "shard_id"} <= set((schema or {}).get("properties", {})):
        raise ConfigError(
            f"execution.deployment = {name!r}: it takes no run and shard_id, so it is no "
            "deployment of the flow animate-shard"
        )


class _FlowRuns:
    """Flow runs that were submitted, by shard, and what became of them."""

    def __init__(self, collection: Collection, client: SyncPrefectClient):
        self._collection = collection
        self._client = client
        self._patience = 60 * collection.run.execution.worker_wait
        self._deployment = collection.run.execution.deployment
        self._pool = client.read_deployment_by_name(self._deployment).work_pool_name
        self._parameters = {"run": collection.run.model_dump(mode="json")}
        self._attempts: dict[str, int] = {}
        self._runs: dict[str, FlowRun] = {}  # by shard
        self._at_work: set[str] = set()  # shards that a worker has begun with, as far as is known
        self._quiet_since: dict[str, float] = {}  # begun, and nobody alive has the lease
        # Those who died before this run came: their leases tell nothing of our own.
        self._dead = {h.token for h, alive in self._standing(collection.plan.shards) if not alive}

    def submit(self, shard_id: str) -> None:
        while True:
            number = self._attempts[shard_id] = self._attempts.get(shard_id, 0) + 1
            submitted: FlowRun = self._ask(self._submitted, shard_id, number)
            # One that is over is of before this flow run was itself started again.
            if not (submitted.state and submitted.state.is_final()):
                break
        self._runs[shard_id] = submitted
        self._quiet_since.pop(shard_id, None)

    def _submitted(self, shard_id: str, number: int) -> Any:
        return run_deployment(
            self._deployment,
            parameters={**self._parameters, "shard_id": shard_id},
            flow_run_name=f"{self._collection.run.name}, {shard_id}",
            timeout=0,
            # An answer that got lost must not make two of it; a run that failed, a third one.
            idempotency_key=f"{flow_run.id}-{shard_id}-{number}",
        )

    def endings(self, seconds: float) -> list[Ending]:
        time.sleep(seconds)
        of = {run.id: shard_id for shard_id, run in self._runs.items()}
        ids, found = list(of), list[FlowRun]()
        for first in range(0, len(ids), _PAGE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=ids[first : first + _PAGE]))
            found += self._ask(self._client.read_flow_runs, flow_run_filter=some, limit=_PAGE)
        states = {of[run.id]: run.state for run in found if run.state}
        # One that was deleted is over, too.
        gone = [Ending(s, error="its flow run was deleted") for s in self._runs if s not in states]
        over = [self._ending(s, state) for s, state in states.items() if state.is_final()]
        begun = {s: state.type for s, state in states.items() if state.type in _BEGUN}
        endings = [*gone, *over, *self._lost(begun)]
        for ending in endings:
            self._runs.pop(ending.shard_id)
        self._at_work = begun.keys() & self._runs.keys()
        return endings

    def _ending(self, shard_id: str, state: Any) -> Ending:
        said = state.message or ""
        if state.type is StateType.COMPLETED:
            return Ending(shard_id, held=state.name == HELD)
        if state.name == REFUSED:
            return Ending(shard_id, stop=ConfigError(said))
        if state.name == STOPPED:
            return Ending(shard_id, stop=RunStopped(said))
        return Ending(shard_id, error=f"its flow run is {state.name}: {said[:200]}")

    def _lost(self, begun: Mapping[str, StateType]) -> list[Ending]:
        """Flow runs that nobody works on any more, whatever Prefect says of them.

        A worker that dies along with its flow run tells nobody. Its lease does.
        """
        now = time.monotonic()
        alive, dead = set[str](), set[str]()
        for holder, living in self._standing(begun):
            if living:
                alive.add(holder.shard_id)
            elif holder.token not in self._dead:
                self._dead.add(holder.token)
                dead.add(holder.shard_id)
        for shard_id, state in begun.items():
            if shard_id in alive:
                self._quiet_since.pop(shard_id, None)
            elif now - self._quiet_since.setdefault(shard_id, now) > self._longest(state):
                dead.add(shard_id)
        lost = [s for s in begun if s in dead - alive and self._bury(s)]
        return [Ending(shard_id, error="its worker is not alive any more") for shard_id in lost]

    def _longest(self, state: StateType) -> float:
        """Seconds that a flow run in that state may do without a lease."""
        longest = max(self._collection.leases.seconds, _START)
        # A machine may have to be started first, and an image fetched.
        return max(longest, self._patience) if state is StateType.PENDING else longest

    def _bury(self, shard_id: str) -> bool:
        """Let Prefect's pages say what became of the flow run; False where it ended meanwhile."""
        run = self._ask(self._client.read_flow_run, self._runs[shard_id].id)
        if run.state and run.state.is_final():
            return False
        state: Any = Crashed(message="The worker died; epa found its lease without a holder.")
        self._ask(self._client.set_flow_run_state, run.id, state, force=True)
        return True

    def _standing(self, shard_ids: Any) -> Any:
        return self._collection.leases.standing(shard_ids)

    def missing(self) -> Missing | None:
        if self._at_work or not self._runs:
            return None
        pool = self._pool
        if pool is None:
            return Missing(f"nobody has served the deployment {self._deployment!r}", "serve it")
        if self._ask(self._client.read_work_pool, pool).is_paused:
            cure = f"resume it (prefect work-pool resume {quote(pool)})"
            return Missing(f"the work pool {pool!r} has been paused", cure)
        workers = self._ask(self._client.read_workers_for_work_pool, pool, limit=_PAGE)
        if any(worker.status is WorkerStatus.ONLINE for worker in workers):
            return None
        cure = f"start one (prefect worker start --pool {quote(pool)})"
        return Missing(f"the work pool {pool!r} has had no worker", cure)

    def cancel(self) -> None:
        """Cancel what is left: flow runs that nobody has begun end at once, others in order."""
        state: Any = Cancelling()
        for run in self._runs.values():
            with suppress(Exception):  # the server may be what is gone
                self._client.set_flow_run_state(run.id, state)

    def _ask(
        self, call: Callable[Given, Answer], *arguments: Given.args, **named: Given.kwargs
    ) -> Answer:
        """The server's answer; one that is away is waited for, as the workers do go on."""
        end = time.monotonic() + self._patience
        while True:
            try:
                return call(*arguments, **named)
            except (httpx.TransportError, PrefectHTTPStatusError) as error:
                response = getattr(error, "response", None)
                refused = response is not None and response.status_code < 500
                if refused or time.monotonic() >= end:
                    raise
                log.warning("the Prefect server does not answer (%s)", type(error).__name__)
                time.sleep(5)


_BEGUN = {StateType.PENDING, StateType.RUNNING, StateType.CANCELLING}
