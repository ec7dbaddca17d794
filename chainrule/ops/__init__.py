"""The table of operations, a file a family. Importing this package fills `BACK_FUNCS` and gives Tensor its methods."""

from . import (  # noqa: F401
    arithmetic,
    creation,
    reduction,
    scan,
    sorting,
)

MODULES = (arithmetic, creation, reduction, scan, sorting)
