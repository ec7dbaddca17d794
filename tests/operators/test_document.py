"""docs/reference/operators.md lists what tests/operators leaves out."""

from __future__ import annotations

from . import document


def test_the_document_lists_what_is_left_out_and_why() -> None:
    text = document.PATH.read_text(encoding="utf-8")
    assert document.families() in text, "python -m tests.operators writes it anew"
