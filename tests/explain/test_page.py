"""The page as text: what is in it, that it holds no markup of the user's, and that it needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.__main__ import main
from chainrule.core.tensor import make_tensor
from chainrule.explain import drawing
from chainrule.explain import page as page_module
from chainrule.explain.page import page_data
from chainrule.explain.page.placing import Placed
from chainrule.explain.steps import LONG

from ..table_samples.common import Sample
from ..test_table import operation, positions
from .test_explain import a_sample_of_each_operation

pytestmark = pytest.mark.skipif(drawing.graphviz_command() is None, reason="no Graphviz here: the draw extra has one")
EVIL = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    r"$\href{javascript:alert(3)}{x}",
    '"> &amp;',
]


def a_small_pass() -> Any:
    a, b = cr.tensor(2.0, requires_grad=True), cr.tensor(3.0, requires_grad=True)
    loss = (a * b).log() + a * a
    return cr.explain(loss, names={"a": a, "b": b, "loss": loss})


def packed_data(text: str) -> Any:
    """The JSON of a page, read with a parser that refuses what is not JSON."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(found[1], parse_constant=refuse)


def unpacked(text: str) -> Any:
    """The data of a page, with what is in the pool in its places."""
    packed = packed_data(text)
    known: list[Any] = []

    def opened(thing: Any) -> Any:
        if isinstance(thing, list):
            return [opened(item) for item in thing]
        if isinstance(thing, dict):
            return known[thing["$"]] if "$" in thing else {key: opened(value) for key, value in thing.items()}
        return thing

    for thing in packed["pool"]:
        known.append(opened(thing))
    return opened(packed["page"])


class Markup(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self._open, []).append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


# ----- what is in it ----------------------------------------------------------------------------------------------


def test_the_page_has_the_steps_the_boxes_and_the_arrows_of_the_pass(tmp_path: Path) -> None:
    told = a_small_pass()
    told.save(tmp_path / "page.html")
    data = unpacked((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [step["number"] for step in data["steps"]] == [step.number for step in told.steps]
    assert [box["lines"][0] for box in data["boxes"]] == [
        f"{node.name} = {node.operation}" if node.operation else node.name for node in told.nodes
    ]
    for step, engine in zip(data["steps"], told.steps, strict=True):
        start, end, curve = data["edges"][step["edge"]]
        assert (start, end) == (step["target"], step["node"]) == (engine.target, engine.node), (
            "it goes against the arrow"
        )
        assert curve.startswith("M")
    last = {step["target"]: step["after"] for step in data["steps"]}
    assert {told.nodes[i].name: text for i, text in last.items() if not told.nodes[i].operation} == {
        "a": "4.5",
        "b": "0.33333",
    }


def test_what_is_packed_comes_out_as_it_went_in() -> None:
    told = a_small_pass()
    assert unpacked(told.html()) == json.loads(json.dumps(page_data(told)))


def test_a_value_used_twice_has_two_arrows_and_each_step_its_own() -> None:
    a = cr.tensor(3.0, requires_grad=True)
    data = page_data(cr.explain(a * a))
    assert [edge[:2] for edge in data["edges"]] == [[0, 1], [0, 1]]
    assert sorted(step["edge"] for step in data["steps"]) == [0, 1]
    assert "before" not in data["steps"][0] and data["steps"][1]["before"] == "3"


def test_constants_are_boxes_and_modules_are_frames() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = cr.ones(3, 2)
    with cr.explain.recording():
        loss = (net(x) * 2).sum()
    data = page_data(cr.explain(loss))
    assert [frame[0] for frame in data["frames"]] == ["Sequential", "0 (Linear)", "1 (ReLU)"]
    assert sorted(box["lines"][0] for box in data["boxes"] if box["kind"] == "constant") == ["2", "x"]
    _, x0, y0, width, height = data["frames"][1]
    weight = next(box for box in data["boxes"] if box["lines"][0] == "net.0.weight")
    assert x0 < weight["at"][0] < x0 + width and y0 < weight["at"][1] < y0 + height, (
        "a leaf is in the frame of its user"
    )


def test_boxes_do_not_overlap() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    with cr.explain.recording():
        loss = ((net(cr.ones(4, 2)) - cr.ones(4, 1)) ** 2).mean()
    corners = np.array([box["at"] for box in page_data(cr.explain(loss))["boxes"]])
    for i, (x, y, width, height) in enumerate(corners):
        others = np.delete(corners, i, 0)
        apart = (abs(others[:, 0] - x) >= (others[:, 2] + width) / 2 - 1) | (
            abs(others[:, 1] - y) >= (others[:, 3] + height) / 2 - 1
        )
        assert apart.all()


def test_the_users_line_is_shown_without_the_folders_of_the_file() -> None:
    a = cr.tensor(2.0, requires_grad=True)
    with cr.explain.recording():
        loss = a * 5  # here
    text = cr.explain(loss).html()
    (box,) = [box for box in unpacked(text)["boxes"] if box.get("place")]
    assert re.fullmatch(r"test_page\.py:\d+", box["place"][0]) and box["place"][1] == "loss = a * 5  # here"
    assert str(Path(__file__).parent) not in text


# ----- safety -----------------------------------------------------------------------------------------------------


def test_no_name_becomes_markup() -> None:
    leaves = [cr.tensor(1.0, requires_grad=True) for _ in EVIL]
    total = leaves[0]
    for leaf in leaves[1:]:
        total = total * leaf
    names: dict[str, Any] = dict(zip(EVIL, leaves, strict=True)) | {"</title><b>loss": total}
    plainly = a_small_pass().html()
    text = cr.explain(total, names=names).html()
    assert [tag for tag, _ in Markup(text).tags] == [tag for tag, _ in Markup(plainly).tags]
    assert text.count("</script") == plainly.count("</script") == 2
    shown = {box["lines"][0] for box in unpacked(text)["boxes"]}
    assert EVIL[0] in shown, "names are shown as they are"


def test_a_name_with_half_a_character_in_it_can_be_written(tmp_path: Path) -> None:
    a = cr.tensor(1.0, requires_grad=True)
    told = cr.explain(a * 2, names={"\ud800 and \u2028": a})
    for ending in ("html", "txt"):
        told.save(tmp_path / f"page.{ending}")
    assert "�" in (tmp_path / "page.html").read_text(encoding="utf-8") or unpacked(told.html())


def test_only_the_pages_own_script_and_style_may_run_and_nothing_may_be_loaded() -> None:
    text = a_small_pass().html()
    markup = Markup(text)
    (policy,) = [found["content"] for tag, found in markup.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    for kind in ("script", "style"):
        content = markup.inside[kind][-1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    for tag, found in markup.tags:
        assert not [name for name in found if name.startswith("on") or name == "style"], tag
        assert found.get("src") is None and (found.get("href") or "data:,") == "data:,"
    script = markup.inside["script"][-1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(|XMLHttp", script
    )
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)


# ----- every operation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", a_sample_of_each_operation(), ids=str)
def test_every_operation_has_a_page(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(sizes: Any, edges: Any, frame: Any, long: Any) -> Placed:  # Graphviz takes its time for each
        return Placed(1.0, 1.0, [(0.0, 0.0)] * len(sizes), [], ["M0,0"] * len(edges))

    monkeypatch.setattr(page_module, "place", nowhere)
    leaves = [make_tensor(sample.args[i].copy(), None).requires_grad_() for i in positions(sample)]
    outputs = [out for out in operation(sample)(*leaves) if out.requires_grad]
    told = cr.explain(sum((out.abs().sum() for out in outputs), cr.zeros((), dtype=cr.float64)))
    data = unpacked(told.html())
    shown = {step["after"] for step in data["steps"]}
    assert len(data["steps"]) == len(told.steps) and shown, "there is something to step through"
    assert all(step["result"]["text"] == str(t.contribution) for step, t in zip(data["steps"], told.steps, strict=True))
    for step, engine in zip(data["steps"], told.steps, strict=True):
        if engine.formula:
            assert "\\" not in json.dumps(step.get("right"), ensure_ascii=False).replace('\\"', ""), engine.formula


# ----- bad input --------------------------------------------------------------------------------------------------


def test_nan_infinite_complex_empty_and_0d_values_are_in_the_page() -> None:
    x = cr.tensor([float("nan"), float("inf"), -1.0], requires_grad=True)
    z = cr.tensor([1 + 2j, complex("nan")], requires_grad=True)
    empty = cr.zeros(0, 3, requires_grad=True)
    large = cr.tensor([float("nan"), float("inf")] * 20, requires_grad=True)
    many = cr.arange(20.0).to(cr.complex64).requires_grad_()
    with np.errstate(all="ignore"):
        loss = x.log().sum() + z.abs().sum() + empty.sum() + large.exp().sum() + (many * 1j).abs().sum()
        data = unpacked(cr.explain(loss).html())
    lines = [" ".join(box["lines"]) for box in data["boxes"]]
    assert "x (3,) float32 1 × NaN" in lines and "z (2,) complex64 1 × NaN" in lines
    assert "empty (0, 3) float32 empty" in lines and "large (40,) float32 20 × NaN" in lines
    assert next(box for box in data["boxes"] if box.get("name") == "x")["value"]["rows"] == [["nan", "inf", "-1"]]


def test_a_leaf_alone_has_a_page_and_an_unknown_ending_none(tmp_path: Path) -> None:
    told = cr.explain(cr.tensor(1.0, requires_grad=True))
    data = unpacked(told.html())
    assert data["steps"] == [] and len(data["boxes"]) == 1
    with pytest.raises(ValueError, match=r"\.html"):
        told.save(tmp_path / "page.htm")


def test_without_graphviz_the_message_names_the_extra_and_no_file_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(drawing, "graphviz_command", lambda: None)
    with pytest.raises(ImportError, match=r"chainrule\[draw\]"):
        a_small_pass().save(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_graph_of_a_hundred_thousand_nodes_has_a_page_of_its_ends_promptly() -> None:
    y = x = cr.tensor(1.0, requires_grad=True)
    for _ in range(100_000):
        y = -y
    start = time.perf_counter()
    told = cr.explain(y)
    text = told.html()
    assert time.perf_counter() - start < 60, "a hang would take far longer than a few seconds"
    data = unpacked(text)
    assert len(text) < 400_000 and data["total"] == 100_000
    assert [step["number"] for step in data["steps"]] == [*range(1, 51), *range(99_951, 100_001)]
    (rest,) = [box for box in data["boxes"] if box["kind"] == "rest"]
    assert rest["lines"][0] == f"{100_001 - len(data['boxes']) + 1} nodes more"
    assert all("right" in step for step in data["steps"]), "the steps that are shown have their formulas"
    drawn = cr.draw(y)
    assert "negative × 99000" in drawn.source
    del drawn, told
    assert x.grad is None


def test_a_pass_of_several_thousand_steps_is_shown_whole_or_by_its_ends() -> None:
    for count in (1000, LONG + 10):
        y = x = cr.tensor(1.0, requires_grad=True)
        for _ in range(count):
            y = -y
        data = page_data(cr.explain(y))
        assert len(data["steps"]) == (count if count == 1000 else 100)
        assert x.grad is None


# ----- the command line -------------------------------------------------------------------------------------------


def test_the_command_line_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    assert main(["explain", "--html", str(file), "log(a*b*log(c))", "a=2", "b=3", "c=10"]) == 0
    data = unpacked(file.read_text(encoding="utf-8"))
    assert data["about"][0] == "result = log(a*b*log(c))" and len(data["steps"]) == 6
    assert main(["explain", "-a", "a=2", f"--html={file}"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["explain", "-a", "a=2", "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot write" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["explain", "a", "a=2", "--html"])
    assert "--html" in capsys.readouterr().err
