"""Pictures of drawings: made by the Graphviz that the `draw` extra brings, and a clear message without it."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

import chainrule as cr
from chainrule.explain import drawing

from .gpt_example import a_gpt

has_graphviz = pytest.mark.skipif(drawing.graphviz_command() is None, reason="no Graphviz here: the draw extra has one")


def a_drawing() -> drawing.Drawing:
    a = cr.tensor([1.0, 2.0], requires_grad=True)
    return cr.draw((a * 3).sum(), {"a": a})


@has_graphviz
def test_a_drawing_becomes_an_svg_picture_with_the_names_that_were_given() -> None:
    root = ElementTree.fromstring(a_drawing().svg)
    assert root.tag.endswith("svg")
    assert any("a" in (text or "").split() for text in root.itertext())


@has_graphviz
def test_a_drawing_becomes_a_png_picture() -> None:
    assert a_drawing().png.startswith(b"\x89PNG\r\n\x1a\n")


@has_graphviz
def test_a_drawing_is_saved_as_what_the_path_ends_in(tmp_path: Path) -> None:
    for ending, start in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".dot", b"digraph")):
        a_drawing().save(tmp_path / f"graph{ending}")
        assert (tmp_path / f"graph{ending}").read_bytes().startswith(start)


@has_graphviz
def test_frames_of_modules_and_names_with_html_in_them_become_a_picture() -> None:
    net = cr.nn.Sequential(cr.nn.Linear(2, 2), cr.nn.ReLU())
    w = cr.name(cr.ones(2, requires_grad=True), '<script>alert(1)</script> "q" \\N')
    root = ElementTree.fromstring(cr.draw(lambda x: net(x) * w, cr.ones(1, 2)).svg)
    assert not [tag for tag in root.iter() if tag.tag.endswith("script")]
    assert any("<script>" in (text or "") for text in root.itertext())


@has_graphviz
def test_a_gpt_of_fifteen_hundred_nodes_is_drawn_in_full_within_three_seconds() -> None:
    loss, model = a_gpt(layers=44)
    start = time.perf_counter()
    drawn = cr.draw(loss, names=model.named_parameters(), depth=99, repeats=True, limit=5000)
    picture = drawn.svg
    assert time.perf_counter() - start < 3
    assert picture.count('class="node"') > 1500 and "blocks.43.attention (Attention)" in picture


@has_graphviz
def test_an_unknown_format_is_named() -> None:
    with pytest.raises(RuntimeError, match="'painting'"):
        a_drawing().render("painting")


def test_without_graphviz_the_message_names_the_extra_and_notebooks_show_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "graphviz_command", lambda: None)
    with pytest.raises(ImportError, match=r"chainrule\[draw\]"):
        _ = a_drawing().svg
    assert a_drawing()._repr_svg_() is None
