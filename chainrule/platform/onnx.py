"""`chainrule.onnx`: importable; a model cannot be exported."""

from __future__ import annotations

from ..absent import absent as _absent
from ..absent import refused as _refused


def is_in_onnx_export() -> bool:
    """False."""
    return False


export = _refused(
    "torch.onnx.export", "save the state_dict with chainrule.save, load it in PyTorch, and export it from there"
)

__getattr__ = _absent("chainrule.onnx")
