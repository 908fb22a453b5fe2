"""Loaded once, in the process that the workers of the fault tests are forked from."""

import gc
import importlib

import torch

torch.set_num_threads(1)

from workers import LATE  # noqa: E402

import flows.animate_collection  # noqa: E402  # after torch knows its threads
import flows.cli  # noqa: E402, F401

for name in LATE:
    importlib.import_module(name)
importlib.import_module("PIL.Image").init()
# A collection in a child would otherwise touch, and so copy, every page of what is loaded here.
gc.collect()
gc.freeze()
