"""The workloads, in the order of the tables: the file of each, without ``.py``."""

from __future__ import annotations

import importlib

from benchmarks.workload import Workload

MODULES = (
    "mlp_small",
    "mlp_medium",
    "mlp_large",
    "scalars",
    "gelu",
    "logistic",
    "lenet",
    "two_convolutions",
    "lstm",
    "char_gpt",
    "data_loader",
    "data_loader_items",
    "import_",
    "import_statement",
    "deep_chain",
    "long_run",
)

NAMES = tuple(module.rstrip("_").replace("_", "-") for module in MODULES)


def load(name: str) -> Workload:
    """The workload of that name; its peers are imported when its programs are built, not here."""
    module = importlib.import_module(f"benchmarks.workloads.{MODULES[NAMES.index(name)]}")
    workload = module.WORKLOAD
    assert isinstance(workload, Workload)
    return workload
