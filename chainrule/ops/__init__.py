"""The table of operations, a file a family. Importing this package fills `BACK_FUNCS` and gives Tensor its methods.

What only layers need (convolution, pooling, attention, ...) is imported by `chainrule.nn`, so that `import chainrule`
is quick.
"""

from . import (
    activation,
    arithmetic,
    comparison,
    contraction,
    conversion,
    creation,
    differences,
    elementwise,
    fft,
    indexing,
    legacy,
    linalg,
    matrices,
    normalisation,
    numpy_forms,
    older,
    reduction,
    scan,
    shape,
    sorting,
    special,
    spectral,
    statistics,
    storage,
)

MODULES = (
    arithmetic,
    creation,
    normalisation,
    reduction,
    scan,
    sorting,
    statistics,
    shape,
    indexing,
    conversion,
    numpy_forms,
    elementwise,
    special,
    activation,
    comparison,
    contraction,
    linalg,
    matrices,
    fft,
    legacy,
    older,
    storage,
    spectral,
    differences,
)
