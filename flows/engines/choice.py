"""From `execution.engine` to an engine, or to one sentence about what it lacks."""

from __future__ import annotations

from importlib import import_module

from catalogs.errors import ConfigError
from flows.engines.base import Engine
from flows.engines.local import Local, Tasks
from tasks.config import Execution

_PACKAGES = {"ray": ("ray", "prefect_ray"), "dask": ("dask", "distributed", "prefect_dask")}


def check_engine(execution: Execution) -> None:
    """Raise ConfigError where the engine's package, Prefect server or deployment is not there."""
    engine = execution.engine
    if engine == "local":
        return
    for name in _PACKAGES.get(engine, ()):
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"execution.engine = {engine!r}: the package {name!r} is not installed; install "
                f"the extra: pip install 'epa[{engine}]'"
            ) from error
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise ConfigError(
            f"execution.engine = {engine!r} needs a Prefect server that its processes can reach: "
            "set PREFECT_API_URL, or use the engine 'local'"
        )
    if engine == "workers":
        from flows.engines.workers import check_deployment

        check_deployment(execution.deployment)


def engine_of(execution: Execution, tasks: Tasks) -> Engine:
    """The engine of a run; the one in this process calls ``tasks``."""
    if execution.engine == "local":
        return Local(tasks)
    if execution.engine == "workers":
        from flows.engines.workers import Workers

        return Workers()
    from flows.engines.clusters import Clustered

    return Clustered(execution)
