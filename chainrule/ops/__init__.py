"""The table of operations, a file a family. Importing this package fills `BACK_FUNCS` and gives Tensor its methods."""

from . import (  # noqa: F401
    activation,
    arithmetic,
    comparison,
    contraction,
    creation,
    elementwise,
    indexing,
    linalg,
    matrices,
    normalisation,
    reduction,
    scan,
    shape,
    sorting,
    special,
    statistics,
)

MODULES = (arithmetic, creation, normalisation, reduction, scan, sorting, statistics, shape, indexing, elementwise, special, activation, comparison, contraction, linalg, matrices)
