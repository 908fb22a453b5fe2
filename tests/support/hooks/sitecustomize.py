"""What the fault tests do to every Python process of a run, whoever starts it.

Python imports this by itself where its folder is on PYTHONPATH. Only the environment decides:

EPA_FAULTS_TRACE    file that gets a line "<key> <pid>" for every work handed to the model
EPA_FAULTS_POISON   title of the work at which the process kills itself before it is computed
EPA_FAULTS_HANG     title of the work at which the model's call never comes back
EPA_FAULTS_PICTURE  SHA-256 of the picture at which the process kills itself when it is decoded
EPA_FAULTS_SLOW     seconds that every call of the model takes longer
EPA_FAULTS_LONG     if set, works count as long ones: named in their lease two at a time
"""

from __future__ import annotations

import functools
import hashlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time


def _compute(module):
    plain = module.compute_batch

    @functools.wraps(plain)
    def compute_batch(shard, entries):
        trace = os.environ.get("EPA_FAULTS_TRACE")
        if trace:
            lines = "".join(f"{entry.job.work.key} {os.getpid()}\n" for entry in entries)
            with open(trace, "a") as file:
                file.write(lines)
        poison = os.environ.get("EPA_FAULTS_POISON")
        if poison and any(entry.job.row["title"] == poison for entry in entries):
            os.kill(os.getpid(), signal.SIGKILL)
        hang = os.environ.get("EPA_FAULTS_HANG")
        if hang and any(entry.job.row["title"] == hang for entry in entries):
            time.sleep(3600)
        time.sleep(float(os.environ.get("EPA_FAULTS_SLOW", "0")))
        return plain(shard, entries)

    module.compute_batch = compute_batch


def _prepare(module):
    plain = module.run

    @functools.wraps(plain)
    def run(data, *arguments):
        if hashlib.sha256(data).hexdigest() == os.environ.get("EPA_FAULTS_PICTURE"):
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(data, *arguments)

    module.run = run


def _in_flight(module):
    if os.environ.get("EPA_FAULTS_LONG"):
        module._OFTEN = 0.0


_CHANGES = {"tasks.in_flight": _in_flight, "tasks.compute": _compute, "tasks.prepare": _prepare}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Changes a module of the line right after it was loaded, before anybody takes names of it."""

    def __init__(self):
        self.busy = False

    def find_spec(self, name, path, target=None):
        if self.busy or name not in _CHANGES:
            return None
        self.busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy = False
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _CHANGES[name](module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _AfterImport())
