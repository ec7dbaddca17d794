"""Linear algebra under PyTorch's names: `chainrule.linalg.solve` and the rest of `torch.linalg`."""

from __future__ import annotations

from .absent import absent as _absent
from .ops.contraction import matmul as matmul
from .ops.linalg import LinAlgError as LinAlgError
from .ops.linalg import cholesky as cholesky
from .ops.linalg import cholesky_ex as cholesky_ex
from .ops.linalg import cond as cond
from .ops.linalg import cross as cross
from .ops.linalg import det as det
from .ops.linalg import diagonal as diagonal
from .ops.linalg import eig as eig
from .ops.linalg import eigh as eigh
from .ops.linalg import eigvals as eigvals
from .ops.linalg import eigvalsh as eigvalsh
from .ops.linalg import inv as inv
from .ops.linalg import inv_ex as inv_ex
from .ops.linalg import lstsq as lstsq
from .ops.linalg import lu as lu
from .ops.linalg import lu_factor as lu_factor
from .ops.linalg import lu_factor_ex as lu_factor_ex
from .ops.linalg import lu_solve as lu_solve
from .ops.linalg import matrix_exp as matrix_exp
from .ops.linalg import matrix_norm as matrix_norm
from .ops.linalg import matrix_power as matrix_power
from .ops.linalg import matrix_rank as matrix_rank
from .ops.linalg import multi_dot as multi_dot
from .ops.linalg import norm as norm
from .ops.linalg import pinv as pinv
from .ops.linalg import qr as qr
from .ops.linalg import slogdet as slogdet
from .ops.linalg import solve as solve
from .ops.linalg import solve_ex as solve_ex
from .ops.linalg import solve_triangular as solve_triangular
from .ops.linalg import svd as svd
from .ops.linalg import svdvals as svdvals
from .ops.linalg import tensorinv as tensorinv
from .ops.linalg import tensorsolve as tensorsolve
from .ops.linalg import vander as vander
from .ops.linalg import vecdot as vecdot
from .ops.linalg import vector_norm as vector_norm
from .ops.out import let_take_out as _let_take_out

__all__ = [name for name in dir() if not name.startswith("_") and name not in ("annotations", "ops")]

_WITHOUT_OUT = "LinAlgError diagonal lstsq matrix_exp vander".split()
_let_take_out(globals(), [name for name in __all__ if name not in _WITHOUT_OUT])

__getattr__ = _absent(__name__)
