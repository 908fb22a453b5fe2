"""The engines `ray` and `dask`: one Prefect task per shard and pass, on a cluster's processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol, Self

from prefect.futures import PrefectWrappedFuture
from prefect.runtime import flow_run

from catalogs.errors import ConfigError
from flows.engines.base import Counts, Ending, Missing, is_everybodys
from flows.engines.dispatch import dispatch
from tasks import recycle
from tasks.collection import Collection
from tasks.config import Execution
from tasks.failures import RunStopped
from tasks.prefect_tasks import shard_there
from tasks.recycle import Pass
from tasks.turns import HELD


class Cluster(Protocol):
    """Prefect's task runner for one kind of cluster, and what it does not say itself."""

    runner: Any

    def start(self) -> None:
        """Start the cluster, or reach the one that is there."""

    def room(self) -> AbstractContextManager[Any]:
        """Asks for what one task needs, a GPU above all, while tasks are submitted."""

    def missing(self) -> Missing | None:
        """Who is not there, where no process could do a task."""

    def stop(self, futures: list[Any]) -> None:
        """Let tasks at work end in order."""

    def close(self) -> None:
        """Let processes that stay forget the run and its models."""


class Clustered:
    """An engine on a Ray or Dask cluster; a small one of its own unless an address is given."""

    two_passes = True

    def __init__(self, execution: Execution):
        self._address, self._name = execution.address, execution.engine.title()
        self._cluster: Cluster = Ray(execution) if execution.engine == "ray" else Dask(execution)

    def check(self, collection: Collection, shard_id: str) -> None:
        """As every engine."""
        for _ in self._dispatched("check", collection, {shard_id: 1}):
            pass

    def go(self, name: Pass, collection: Collection, works: Mapping[str, int]) -> Counts:
        """As every engine."""
        yield from self._dispatched(name, collection, works)

    def _dispatched(self, name: Pass, collection: Collection, works: Mapping[str, int]) -> Counts:
        hands = _Futures(self._cluster, name, collection)
        yield from dispatch(collection, works, hands, recorded=name == "animate")

    def __enter__(self) -> Self:
        try:
            self._cluster.start()
        except Exception as error:  # each library raises its own where nobody answers
            said = " ".join(str(error).split())[:200]
            reason = f"{type(error).__name__}: {said}"
            if self._address:
                raise ConfigError(
                    f"execution.address = {self._address!r}: no {self._name} cluster that could be "
                    f"used answers there ({reason})"
                ) from error
            raise RunStopped(f"no {self._name} cluster could be started here: {reason}") from error
        return self

    def __exit__(self, *error: Any) -> None:
        self._cluster.close()
        self._cluster.runner.__exit__(*error)


class _Futures:
    """Tasks that were submitted, by shard, and those of them that ended."""

    def __init__(self, cluster: Cluster, name: Pass, collection: Collection):
        self._cluster = cluster
        self._name = name
        self._run = collection.run
        self._id = str(flow_run.id)
        self._ended: SimpleQueue[tuple[str, PrefectWrappedFuture[Any, Any]]] = SimpleQueue()
        self._futures: dict[str, PrefectWrappedFuture[Any, Any]] = {}

    def submit(self, shard_id: str) -> None:
        parameters: dict[str, Any] = {"pass_name": self._name, "run": self._run}
        parameters |= {"shard_id": shard_id, "run_id": self._id}
        with self._cluster.room():
            future = self._cluster.runner.submit(shard_there, parameters)
        self._futures[shard_id] = future
        future.add_done_callback(lambda ended: self._ended.put((shard_id, ended)))

    def endings(self, seconds: float) -> list[Ending]:
        found = []
        with suppress(Empty):
            found.append(self._ended.get(timeout=seconds))
            while True:
                found.append(self._ended.get_nowait())
        return [self._ending(*each) for each in found]

    def _ending(self, shard_id: str, future: PrefectWrappedFuture[Any, Any]) -> Ending:
        self._futures.pop(shard_id, None)
        try:
            counts = dict(future.result())
        except Exception as error:  # noqa: BLE001  # of the task, or of the process it was in
            if is_everybodys(error):
                return Ending(shard_id, stop=error)
            said = " ".join(str(error).split())[:200]
            return Ending(shard_id, error=f"{type(error).__name__}: {said}")
        held = bool(counts.pop(HELD, 0))
        return Ending(shard_id, counts, held)

    def missing(self) -> Missing | None:
        return self._cluster.missing()

    def cancel(self) -> None:
        with suppress(Exception):  # the cluster may be what is gone
            self._cluster.stop([future.wrapped_future for future in self._futures.values()])


def _gpus(execution: Execution, there: Callable[[], float]) -> bool:
    """Whether a task wants a GPU: one is asked for, or `auto` and there are some."""
    device = execution.device
    return device.startswith("cuda") or (device == "auto" and there() > 0)


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


class Ray:
    """Ray: one process for each task at a time; the processes live on, and the models in them."""

    def __init__(self, execution: Execution):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from prefect_ray import RayTaskRunner

        self._execution = execution
        self._gpu = False
        if execution.address:
            options: dict[str, Any] = {}
        else:
            options = {"num_cpus": execution.workers, "include_dashboard": False}
            options["object_store_memory"] = 200_000_000  # only counts travel
        self.runner = RayTaskRunner(
            address=execution.address or "local", init_kwargs={**options, "log_to_driver": False}
        )

    def start(self) -> None:
        """As every cluster."""
        import ray

        self.runner.__enter__()
        there = ray.cluster_resources().get("GPU", 0)
        self._gpu = _gpus(self._execution, lambda: float(there))

    def room(self) -> AbstractContextManager[Any]:
        """As every cluster."""
        from prefect_ray.context import remote_options

        # Ray would take a new process, and load the model, for every task with a GPU; and do by
        # itself what a death has ended, before anybody has taken note of it.
        return remote_options(num_cpus=1, num_gpus=int(self._gpu), max_calls=0, max_retries=0)

    def missing(self) -> Missing | None:
        """As every cluster."""
        import ray

        there = ray.cluster_resources()
        wanted = {"CPU": 1, "GPU": int(self._gpu)}
        short = [name for name, count in wanted.items() if there.get(name, 0) < count]
        if not short:
            return None
        who = f"the Ray cluster has had no {' and no '.join(short)}"
        return Missing(who, "add nodes to it")

    def stop(self, futures: list[Any]) -> None:
        """As every cluster: an interrupt, which gives leases back."""
        import ray

        for future in futures:
            ray.cancel(future)
        if futures:
            ray.wait(futures, num_returns=len(futures), timeout=_GRACE)

    def close(self) -> None:
        """As every cluster: Ray ends a driver's processes by itself."""


_GRACE = 20.0  # seconds for what is at work to end in order


class Dask:
    """Dask: processes with one thread each, as many tasks at a time."""

    def __init__(self, execution: Execution):
        import dask
        from prefect_dask import DaskTaskRunner

        self._execution = execution
        self._gpu = False
        if execution.address:
            self.runner = DaskTaskRunner(address=execution.address)
            return
        # Works that killed a process twice are done in a child of the worker's.
        dask.config.set({"distributed.worker.daemon": False})
        here = _gpus_here()
        devices = _visible(here) if _gpus(execution, lambda: here) else None
        count = min(execution.workers, len(devices or [])) if devices else execution.workers
        self.runner = DaskTaskRunner(
            cluster_class=_local_dask, cluster_kwargs={"count": count, "devices": devices}
        )

    def start(self) -> None:
        """As every cluster. Raises ValueError for workers that cannot be used."""
        self.runner.__enter__()
        workers = self._workers()  # the client is made at the first look
        threads = max((worker["nthreads"] for worker in workers.values()), default=1)
        if threads > 1:
            raise ValueError(
                f"its workers have {threads} threads, but a process can hold one model: start them "
                "with --nthreads 1"
            )
        gpus = sum(worker["resources"].get("GPU", 0) for worker in workers.values())
        self._gpu = _gpus(self._execution, lambda: gpus)

    def room(self) -> AbstractContextManager[Any]:
        """As every cluster."""
        import dask

        return dask.annotate(resources={"GPU": 1}) if self._gpu else nullcontext()

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self.runner.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def missing(self) -> Missing | None:
        """As every cluster."""
        workers = self._workers()
        if self._gpu:
            workers = {n: worker for n, worker in workers.items() if worker["resources"].get("GPU")}
        if workers:
            return None
        options = "--nthreads 1" + " --resources GPU=1" * self._gpu
        return Missing("the Dask cluster has had no worker", f"start one (dask worker {options})")

    def stop(self, futures: list[Any]) -> None:
        """As every cluster: a thread cannot be interrupted, so its lease is given back for it."""
        client = self.runner.client
        client.cancel(futures)
        client.run(recycle.let_go, str(flow_run.id))

    def close(self) -> None:
        """As every cluster."""
        if self._execution.address:
            with suppress(Exception):  # the cluster may be what is gone
                self.runner.client.run(recycle.end, str(flow_run.id))


def _visible(count: int) -> list[str]:
    """Names of this process's GPUs, as CUDA_VISIBLE_DEVICES has them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return given if given != [""] else [str(number) for number in range(count)]


def _local_dask(count: int, devices: list[str] | None) -> Any:
    """A cluster on this machine: processes of one thread, each with a GPU of its own if any."""
    from distributed import Nanny, Scheduler, SpecCluster

    workers = {}
    for number in range(count):
        options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False}
        options["silence_logs"] = logging.WARNING
        if devices:
            options["env"] = {"CUDA_VISIBLE_DEVICES": devices[number]}
            options["resources"] = {"GPU": 1}
        workers[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "host": "127.0.0.1"}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.WARNING)
