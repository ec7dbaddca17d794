"""How batches are made and travel. The modules have PyTorch's names, because programs import `collate` from here."""

from __future__ import annotations

from . import collate, fetch, transport, worker

__all__ = ["collate", "fetch", "transport", "worker"]
