"""The table of operations, a file a family. Importing this package fills `BACK_FUNCS` and gives Tensor its methods."""

from . import (  # noqa: F401
    activation,
    arithmetic,
    comparison,
    creation,
    elementwise,
    indexing,
    normalisation,
    reduction,
    scan,
    shape,
    sorting,
    special,
)

MODULES = (arithmetic, creation, normalisation, reduction, scan, sorting, shape, indexing, elementwise, special, activation, comparison)
