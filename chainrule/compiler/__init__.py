"""`chainrule.compile`: a function of tensors becomes a NumPy program that a person can read."""

from ..absent import absent as _absent
from .compiled import Compiled as Compiled
from .compiled import compile as compile
from .tracer import TraceError as TraceError
from .tracer import allow_in_graph as allow_in_graph
from .tracer import disable as disable
from .tracer import is_compiling as is_compiling
from .tracer import is_compiling as is_dynamo_compiling  # noqa: F401

__getattr__ = _absent(__name__)
