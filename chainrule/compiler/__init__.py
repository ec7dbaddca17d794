"""`chainrule.compile`: a function of tensors becomes a NumPy program that a person can read."""

from .compiled import Compiled as Compiled
from .compiled import compile as compile
from .tracer import TraceError as TraceError
from .tracer import is_compiling as is_compiling
from .tracer import is_compiling as is_dynamo_compiling  # noqa: F401
