"""Optimisers: `optimizer.step()` reads the parameters' gradients and writes their arrays.

>>> import chainrule as cr
>>> x = cr.tensor([3.0], requires_grad=True)
>>> optimizer = cr.optim.SGD([x], lr=0.1, momentum=0.9)
>>> scheduler = cr.optim.lr_scheduler.StepLR(optimizer, step_size=100)
>>> for _ in range(300):
...     optimizer.zero_grad()
...     (x * x).backward()
...     optimizer.step()
...     scheduler.step()
>>> abs(x.item()) < 1e-3
True
"""

from typing import TYPE_CHECKING, Any

from ..absent import absent
from . import lr_scheduler
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, RMSprop, Rprop
from .lbfgs import LBFGS
from .matrices import Adafactor, Muon
from .optimizer import Optimizer
from .sgd import ASGD, SGD

if TYPE_CHECKING:
    from . import swa_utils

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]


def __getattr__(name: str) -> Any:
    if name == "swa_utils":  # needs chainrule.nn, which the others do not
        import importlib

        return importlib.import_module(".swa_utils", __name__)
    return absent(__name__)(name)
