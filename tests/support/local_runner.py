"""Runs a whole collection without Prefect: the same passes, seals and wrap-up, in this process.

As a program (``python local_runner.py RUN.yaml``) it is what the fault tests kill.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from flows.animate_collection import works_to_draw
from flows.wrap_up import Summary, wrap_up
from tasks import prefect_tasks, recycle
from tasks.collection import Collection, register
from tasks.config import RunConfig
from tasks.runfile import load_run_file
from tasks.turns import in_turn


def run_locally(run: RunConfig) -> tuple[Summary, Collection]:
    """Do what the flow does, calling the tasks' plain functions."""
    collection = Collection.open(run)
    register(collection)
    for works, task in (
        (works_to_draw(collection), prefect_tasks.proxy_shard),
        (collection.plan.shards, prefect_tasks.animate_shard),
    ):
        for _ in in_turn(collection.leases, list(works), partial(task.fn, collection.run)):
            pass
    recycle.close()
    return wrap_up(collection, 0.0), collection


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parent))
    print(run_locally(load_run_file(sys.argv[1]))[0].counts)
