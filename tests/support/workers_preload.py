"""Loaded once, in the process that the workers of the fault tests are forked from."""

import importlib

import torch

torch.set_num_threads(1)

import local_runner  # noqa: E402, F401  # after torch knows its threads
from workers import LATE  # noqa: E402

for name in LATE:
    importlib.import_module(name)
