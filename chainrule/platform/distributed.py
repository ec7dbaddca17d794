"""`chainrule.distributed`: there is one process, and it says so."""

from __future__ import annotations

import enum

from ..absent import absent as _absent
from ..absent import refused as _refused


def is_available() -> bool:
    """False: programs that ask go on alone."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


is_torchelastic_launched = is_nccl_available = is_gloo_available = is_mpi_available = is_initialized


class ReduceOp(enum.Enum):
    """How values of several processes would be combined."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = range(8)


# what programs import by name; each says what to do when it is called
for _name in (
    "all_gather all_gather_object all_reduce all_to_all barrier broadcast broadcast_object_list destroy_process_group "
    "gather get_backend get_rank get_world_size init_process_group new_group recv reduce reduce_scatter scatter send"
).split():
    globals()[_name] = _refused(
        f"torch.distributed.{_name}", "training runs in one process; ask distributed.is_available() first"
    )

__getattr__ = _absent("chainrule.distributed")
