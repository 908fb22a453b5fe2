"""Who does the shards of a run: this process, the workers of a work pool, Ray or Dask."""

from flows.engines.base import Engine, ShardsLeft
from flows.engines.choice import check_engine, engine_of

__all__ = ["Engine", "ShardsLeft", "check_engine", "engine_of"]
