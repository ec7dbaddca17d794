"""torch.utils.tensorboard's names: event files for TensorBoard, written by the package `tensorboardX`."""

from __future__ import annotations

from .writer import SummaryWriter

__all__ = ["SummaryWriter"]
