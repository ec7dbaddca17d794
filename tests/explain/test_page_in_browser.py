"""The page in a real browser: stepping, clicking, what is lit, what is read aloud, and that nothing goes wrong.

`make browser` installs what this needs, and runs it; without it these tests skip themselves.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain import drawing

from .gpt_example import a_gpt

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = """
    --no-sandbox --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
""".split()
IS_NEEDED = bool(os.environ.get("CHAINRULE_NEEDS_BROWSER"))  # as `make browser` says
Open = Callable[..., Any]


def missing(what: str) -> Any:
    """Skip, or fail where the browser was to be there."""
    return (pytest.fail if IS_NEEDED else pytest.skip)(f"no {what} here: make browser installs it")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright")
    command = next(filter(None, map(shutil.which, NAMES)), None)
    if command is None:
        missing("Chromium")
    if drawing.graphviz_command() is None:
        missing("Graphviz")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=command, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of an explanation; at the end nothing may have been said, failed or asked of a network."""
    contexts: list[Any] = []
    problems: list[str] = []

    def open_page(told: Any, address: str = "", **options: Any) -> Any:
        file = tmp_path / f"page{len(contexts)}.html"
        if isinstance(told, str):
            file.write_text(told, encoding="utf-8")
        else:
            told.save(file)
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url == file.as_uri() or problems.append(f"request: {request.url}"))
        page.goto(file.as_uri() + address)
        return page

    yield open_page
    for context in contexts:
        shown = [page.evaluate("document.body.textContent.split('{')[0]") for page in context.pages]
        problems += [text for text in shown if "undefined" in text or "null" in text or "[object" in text]
        context.close()
    assert problems == []


def two_paths() -> Any:
    a, b = cr.tensor(2.0, requires_grad=True), cr.tensor(3.0, requires_grad=True)
    with cr.explain.recording():
        loss = (a * b).log() + a * a
    return cr.explain(loss, names={"a": a, "b": b, "loss": loss})


def unrecorded() -> Any:
    a = cr.tensor(2.0, requires_grad=True)
    return cr.explain((a * 3).exp(), names={"a": a})


def a_net(rows: int = 4) -> Any:
    cr.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x, y = cr.randn(rows, 2), cr.randn(rows, 1)
    with cr.explain.recording():
        loss = ((net(x) - y) ** 2).mean()
    return cr.explain(loss, names={"x": x, "y": y, **dict(net.named_parameters())})


def boxes(page: Any, kind: str) -> list[str]:
    """The first lines of the boxes of a kind."""
    return page.eval_on_selector_all(f".box.{kind}", "found => found.map(box => box.querySelector('text').textContent)")


def gradient_in(page: Any, title: str) -> str:
    """What a box says of its gradient."""
    return page.evaluate(
        """title => [...document.querySelectorAll('.box')]
        .find(box => box.querySelector('text').textContent === title).querySelector('.gradient').textContent""",
        title,
    )


def lit_arrow(page: Any) -> list[tuple[float, float]]:
    """Where the lit arrow begins and where its last line ends, on the screen."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.arrow.now')].flatMap(path => {
            const length = path.getTotalLength();
            const matrix = path.getScreenCTM();
            return [0, length].map(at => {
                const point = path.getPointAtLength(at).matrixTransform(matrix);
                return [point.x, point.y];
            });
        })"""
    )


def place_of(page: Any, title: str) -> dict[str, float]:
    return page.evaluate(
        """title => { const r = [...document.querySelectorAll('.box')]
        .find(box => box.querySelector('text').textContent === title).getBoundingClientRect();
        return {left: r.left, right: r.right, top: r.top, bottom: r.bottom}; }""",
        title,
    )


def wait_until(page: Any, expression: str) -> None:
    """Playwright's own waiting would evaluate text in the page, which its policy forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def text_of(page: Any, selector: str) -> str:
    return " ".join(page.inner_text(selector).split())


# ----- steps ------------------------------------------------------------------------------------------------------


def test_the_page_begins_at_the_end_of_the_graph_with_its_gradient(show: Open) -> None:
    page = show(two_paths())
    assert page.title() == "Backward pass of loss: 4 operations, 7 steps"
    assert boxes(page, "target") == boxes(page, "done") == ["loss = add"] and boxes(page, "source") == []
    assert text_of(page, "#count") == "0 / 7" and page.is_disabled("#back") and page.is_enabled("#on")
    assert gradient_in(page, "loss = add") == "∇ 1" and gradient_in(page, "a") == "∇ –"
    assert "= 1" in text_of(page, "#step")


def test_keys_step_and_what_happens_is_lit(show: Open) -> None:
    told = two_paths()
    page = show(told)
    for number, step in enumerate(told.steps, 1):
        page.keyboard.press("ArrowRight")
        node, target = told.nodes[step.node], told.nodes[step.target]
        titles = [f"{n.name} = {n.operation}" if n.operation else n.name for n in (node, target)]
        assert (boxes(page, "source"), boxes(page, "target")) == ([titles[0]], [titles[1]])
        assert gradient_in(page, titles[1]) == f"∇ {step.after}"
        assert text_of(page, "#step .kicker").startswith(f"Step {number} of 7")
        start, end = lit_arrow(page)
        for (x, y), title in ((start, titles[1]), (end, titles[0])):  # the end is a barb of the arrowhead
            box = place_of(page, title)
            assert box["left"] - 20 < x < box["right"] + 20 and box["top"] - 20 < y < box["bottom"] + 20
        assert page.input_value("#slider") == str(number)
        assert page.get_attribute("#list [aria-current=step] .number", "class") is not None
    assert gradient_in(page, "a") == "∇ 4.5" and page.is_disabled("#on")
    assert "Gradients of the leaves" in text_of(page, "#step")
    page.keyboard.press("ArrowLeft")
    assert gradient_in(page, "a") != "∇ 4.5" and text_of(page, "#count") == "6 / 7"
    page.keyboard.press("Home")
    assert boxes(page, "done") == ["loss = add"] and page.query_selector(".arrow.done, .arrow.now") is None
    page.keyboard.press("End")
    assert gradient_in(page, "a") == "∇ 4.5" and gradient_in(page, "b") == "∇ 0.33333"
    assert page.eval_on_selector_all(".arrow:not(.done)", "found => found.length") == 0


def test_going_back_undoes_exactly_what_going_on_did(show: Open) -> None:
    page = show(two_paths())
    shot = "document.getElementById('picture').querySelector('g').innerHTML + document.getElementById('step').innerHTML"
    seen = [page.evaluate(shot)]
    for _ in range(7):
        page.keyboard.press("ArrowRight")
        seen.append(page.evaluate(shot))
    assert len(set(seen)) == 8
    for before in reversed(seen[:-1]):
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(shot).replace(' class=""', "") == before.replace(' class=""', "")


def test_a_step_shows_formula_numbers_line_and_words(show: Open) -> None:
    told = two_paths()
    page = show(told)
    which = next(step.number for step in told.steps if told.nodes[step.node].operation == "log")
    page.click(f"#list li:nth-child({which}) button")
    text = text_of(page, "#step")
    assert "log(" in text and "0.16667" in text and "1 / 6" in text.replace("1/6", "1 / 6")
    assert "test_page_in_browser.py:" in text and "loss = (a * b).log() + a * a" in text
    page.keyboard.press("End")
    assert "the third of three paths into a: 2.5 + 2 = 4.5" in text_of(page, "#step .said")
    assert page.evaluate("document.querySelector('#step math').namespaceURI").endswith("Math/MathML")


def test_slider_buttons_and_list_go_to_steps(show: Open) -> None:
    page = show(two_paths())
    page.click("#on")
    page.click("#on")
    page.click("#back")
    assert text_of(page, "#count") == "1 / 7"
    page.click("#last")
    assert text_of(page, "#count") == "7 / 7"
    page.click("#first")
    page.fill("#slider", "4")
    assert text_of(page, "#count") == "4 / 7"
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    assert text_of(page, "#count") == "5 / 7", "one step, not one of the page's and one of the slider's"
    page.click("#list li:nth-child(2) button")
    assert text_of(page, "#count") == "2 / 7"


def test_play_steps_by_itself_until_the_end_and_space_stops_it(show: Open) -> None:
    page = show(two_paths())
    page.select_option("#speed", "20")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    wait_until(page, "document.getElementById('count').textContent === '7 / 7'")
    assert page.get_attribute("#play", "aria-label") == "Play"
    page.select_option("#speed", "0.5")
    page.click("#play")
    wait_until(page, "document.getElementById('count').textContent !== '7 / 7'")
    page.focus("#picture [tabindex='0']")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    stopped = text_of(page, "#count")
    assert page.get_attribute("#play", "aria-label") == "Play" and stopped != "7 / 7"


def test_the_address_names_a_step(show: Open) -> None:
    page = show(two_paths(), "#3")
    assert text_of(page, "#count") == "3 / 7"


def test_matrices_are_typeset_and_modules_framed(show: Open) -> None:
    told = a_net()
    page = show(told)
    which = next(s.number for s in told.steps if told.nodes[s.target].name == "2.weight")
    page.click(f"#list li:nth-child({which}) button")
    rows = page.eval_on_selector_all("#step .result mtr", "rows => rows.map(row => row.children.length)")
    assert rows == [3]
    shown = page.eval_on_selector_all("#step .result mtd", "cells => cells.map(cell => cell.textContent)")
    expected = next(s for s in told.steps if s.number == which).contribution.numbers[0]
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(expected, rel=1e-4)
    frames = page.eval_on_selector_all(".frame text", "found => found.map(text => text.textContent)")
    assert frames == ["Sequential", "0 (Linear)", "1 (Tanh)", "2 (Linear)"]


# ----- boxes ------------------------------------------------------------------------------------------------------


def test_a_click_on_a_box_shows_its_forward_and_backward(show: Open) -> None:
    page = show(two_paths())
    page.keyboard.press("End")
    page.click(".box.leaf >> text=a")
    text = text_of(page, "#node")
    assert "a: a leaf" in text and "In the end 4.5" in text and "Used by" in text
    page.click("#node [data-shows] >> nth=0")
    text = text_of(page, "#node")
    assert "multiply(a, b)" in text and "Computed from" in text and "Taken on in" in text
    page.click("#node [data-step] >> nth=0")
    assert text_of(page, "#count") != "7 / 7"
    page.keyboard.press("Escape")
    assert page.is_hidden("#node")


def test_a_box_that_stands_for_one_far_away_is_lit_with_it_and_leads_to_it(show: Open) -> None:
    w, u = cr.tensor(0.5, requires_grad=True), cr.tensor(0.1, requires_grad=True)
    h = w * u
    for _ in range(60):
        h = (h * w + u).tanh()
    told = cr.explain(h, names={"w": w, "u": u})
    page = show(told)
    step = next(step for step in told.steps if told.nodes[step.target].name == "w")
    page.fill("#slider", str(step.number))
    page.wait_for_timeout(400)
    assert boxes(page, "target") == ["w"] and page.query_selector(".box.again.target") is not None
    page.click(".box.again.target")
    text = text_of(page, "#node")
    assert "w: a leaf" in text and f"So far {step.after}" in text.replace(" .", ".")


def test_dragging_moves_the_graph_and_chooses_nothing(show: Open) -> None:
    page = show(a_net())
    before = place_of(page, "v1 = linear")
    x, y = (before["left"] + before["right"]) / 2, (before["top"] + before["bottom"]) / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    after = place_of(page, "v1 = linear")
    assert after["left"] - before["left"] == pytest.approx(60, abs=1)
    assert after["top"] - before["top"] == pytest.approx(30, abs=1)
    assert page.is_hidden("#node")
    page.mouse.click(x + 60, y + 30)
    assert page.is_visible("#node")
    page.click("#closer")
    closer = place_of(page, "v1 = linear")
    assert closer["right"] - closer["left"] > 1.2 * (after["right"] - after["left"])
    page.click("#whole")
    assert place_of(page, "v1 = linear")["left"] == pytest.approx(before["left"], abs=1)


# ----- for everybody ----------------------------------------------------------------------------------------------


def test_all_that_can_be_done_can_be_done_by_keyboard(show: Open) -> None:
    page = show(two_paths())
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        what = page.evaluate("document.activeElement.id || document.activeElement.getAttribute('class')")
        if seen and what == seen[0]:
            break
        seen.append(what)
    for wanted in ("closer", "farther", "whole", "play", "on", "last", "slider", "speed"):
        assert wanted in seen
    assert sum("box" in (what or "") for what in seen) == 1, "the graph is one stop"
    page.focus(".box[tabindex='0']")
    focused = "document.activeElement.querySelector('text').textContent"
    assert page.evaluate(focused) == "loss = add"
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == "v3 = multiply"
    page.keyboard.press("Enter")
    assert "v3 = multiply(a, a)" in text_of(page, "#node")
    page.focus("#node .close")
    page.keyboard.press("Enter")
    assert page.is_hidden("#node") and page.evaluate(focused) == "v3 = multiply"


def test_roles_and_names_are_there_for_screen_readers(show: Open) -> None:
    page = show(a_net())
    page.keyboard.press("End")
    session = page.context.new_cdp_session(page)
    tree = session.send("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "slider", "combobox", "region", "navigation", "group", "heading", "RootWebArea"}
    roles: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            role = node.get("role", {}).get("value", "")
            roles.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in named & set(roles):
        assert all(name.strip() for name in roles[role]), (role, roles[role])
    assert {"main", "navigation", "slider", "combobox", "button", "banner"} <= set(roles)
    assert {"MathMLMath"} & set(roles) or {"math"} & set(roles), "formulas are formulas to a screen reader"
    assert roles["heading"][0] == page.title()
    ids = page.eval_on_selector_all("[id]", "found => found.map(element => element.id)")
    assert len(ids) == len(set(ids)) and page.get_attribute("html", "lang") == "en"
    assert page.eval_on_selector_all("[tabindex]", "found => found.every(e => Number(e.getAttribute('tabindex')) < 1)")


def test_each_step_is_read_aloud(show: Open) -> None:
    page = show(two_paths())
    assert page.get_attribute("#live", "aria-live") == "polite" and text_of(page, "#live") == "The start"
    page.keyboard.press("End")
    said = page.text_content("#live")
    assert said.startswith("Step 7 of 7: from v3 = multiply(a, a) to a. Result 2.")
    assert "the third of three paths into a" in said
    assert page.get_attribute("#slider", "aria-valuetext") == "step 7 of 7"
    page.focus(".box[tabindex='0']")
    page.keyboard.press("ArrowUp")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "v3 = multiply(a, a), value 4, gradient 1"


CONTRAST = """() => {
    const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const colour = text => text.match(/[\\d.]+/g).map(Number);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const found = colour(getComputedStyle(e).backgroundColor);
            if (found.length < 4 || found[3] > 0.99) return found;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest('script, style, [disabled], svg')) continue;
        const [a, b] = [light(colour(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push([element.tagName, element.className, element.textContent.slice(0, 30), ratio]);
    }
    for (const text of document.querySelectorAll('.box text')) {
        const fill = getComputedStyle(text.parentElement.querySelector('rect')).fill;
        const back = fill === 'none' ? getComputedStyle(document.body).backgroundColor : fill;
        const [a, b] = [light(colour(getComputedStyle(text).fill)), light(colour(back))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push(['box', text.textContent, ratio]);
    }
    return poor;
}"""


def test_what_is_not_known_leaves_no_trace(show: Open) -> None:
    page = show(unrecorded())
    page.keyboard.press("ArrowRight")
    assert page.query_selector("#step .where") is None and "recording()" in text_of(page, "header")
    alone = show(cr.explain(cr.tensor(1.0, requires_grad=True)))
    assert text_of(alone, "#count") == "0 / 0" and alone.inner_text("#step").count("Start") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(show: Open, scheme: str) -> None:
    page = show(a_net(), "#4", color_scheme=scheme)
    page.click(".box.source")
    assert page.evaluate(CONTRAST) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in background.strip("rgb()").split(",")) > 3 * 128
    assert light == (scheme == "light")


def test_on_a_phone_all_is_below_one_another_and_nothing_runs_over(show: Open) -> None:
    page = show(a_net(), "#4", viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    graph, step = page.locator("#graph").bounding_box(), page.locator("#step").bounding_box()
    assert graph["y"] + graph["height"] <= step["y"] and step["width"] > 300
    bar = page.locator("#controls").bounding_box()
    assert bar["y"] + bar["height"] == pytest.approx(740, abs=1)
    page.tap("#on")
    assert text_of(page, "#count") == "5 / 9"
    small = page.eval_on_selector_all(
        "button",
        "all => all.filter(b => b.checkVisibility()).map(b => b.getBoundingClientRect()).filter(r => r.height < 24)",
    )
    assert small == [], "fingers need room"
    page.tap(".box.target")
    assert page.is_visible("#node")


def test_nothing_moves_by_itself_where_that_is_not_wanted(show: Open) -> None:
    moving = "getComputedStyle(document.getElementById('spark')).animationName"
    assert show(two_paths(), "#2").evaluate(moving) == "flow"
    assert show(two_paths(), "#2", reduced_motion="reduce").evaluate(moving) == "none"


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_a_screenshot_shows_a_picture(show: Open, look: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options["viewport"] = {"width": 375, "height": 740}
    page = show(a_net(), "#5", **options)
    folder = Path(os.environ.get("CHAINRULE_SCREENSHOTS") or tmp_path)
    picture = page.screenshot(path=folder / f"page-{look}.png")
    assert len(picture) > 20_000, "an empty page makes a far smaller file"


def test_the_page_works_in_a_frame_of_a_notebook(show: Open) -> None:
    page = show(f"<!doctype html><title>cells</title><body>{two_paths().inline(500)._repr_html_()}</body>")
    frame = page.frames[1]
    frame.wait_for_selector(".box")
    page.frame_locator("iframe").locator("#on").click()
    assert frame.inner_text("#count") == "1 / 7" and page.locator("iframe").bounding_box()["height"] > 490
    assert page.get_attribute("iframe", "sandbox") == "allow-scripts"


# ----- safety and size --------------------------------------------------------------------------------------------


def test_no_name_runs_as_a_script_or_becomes_a_link(show: Open) -> None:
    evil = [
        "<script>alert(1)</script>",
        "</script><script>alert(2)</script>",
        r"$\href{javascript:alert(3)}{x}$",
        "<img src=x onerror=alert(4)>",
        '"><svg onload=alert(5)>',
    ]
    leaves = [cr.tensor([1.0, 2.0], requires_grad=True) for _ in evil]
    total = leaves[0]
    for leaf in leaves[1:]:
        total = total * leaf
    loss = total.sum()
    page = show(cr.explain(loss, names={**dict(zip(evil, leaves, strict=True)), "<b>loss</b>": loss}))
    assert "<b>loss</b>" in page.title()
    for _ in range(len(evil) * 2):
        page.keyboard.press("ArrowRight")
    page.click(".box.leaf >> nth=0")
    shown = page.inner_text("body")
    assert "<script>alert(1)</script>" in shown
    assert page.eval_on_selector_all("img, a, b, iframe, [onerror], [onload], [href]:not(link)", "e => e.length") == 0
    assert page.eval_on_selector_all("script", "e => e.length") == 2


def test_a_script_that_is_put_into_the_page_does_not_run(show: Open) -> None:
    text = two_paths().html().replace("</h1>", "</h1><script>document.title = 'changed'</script>", 1)
    context = show(two_paths()).context
    page = context.new_page()
    file = Path(context.pages[0].url.removeprefix("file://"))
    file.write_text(text, encoding="utf-8")
    page.goto(file.as_uri())
    assert page.title() == "Backward pass of loss: 4 operations, 7 steps"


def test_the_page_of_a_gpt_is_small_and_painted_within_a_second(show: Open, tmp_path: Path) -> None:
    loss, model = a_gpt(layers=44)
    told = cr.explain(loss, names=model.named_parameters())
    assert 1400 < len(told.nodes) < 1700
    told.save(tmp_path / "gpt.html")
    assert (tmp_path / "gpt.html").stat().st_size < 2e6
    page = show((tmp_path / "gpt.html").read_text(encoding="utf-8"))
    wait_until(page, "performance.getEntriesByName('first-contentful-paint').length")
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1000
    assert text_of(page, "#count").startswith("0 / ")


def test_two_thousand_nodes_are_stepped_through_smoothly(show: Open) -> None:
    x = cr.ones(3, requires_grad=True)
    streams = [x * float(i) for i in range(1, 11)]
    for i in range(100):
        streams = [a.sin() + streams[(i + 1) % 10] for a in streams]
    loss = cr.stack(streams).sum()
    told = cr.explain(loss)
    assert len(told.nodes) > 2000
    page = show(told)
    start = time.perf_counter()
    times = page.evaluate(
        """async () => {
            const times = [];
            for (let i = 0; i < 60; i++) {
                const start = performance.now();
                document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
                times.push(performance.now() - start);
                await new Promise(requestAnimationFrame);
            }
            return times.sort((a, b) => a - b);
        }"""
    )
    assert times[30] < 50, "a step of the page takes a few milliseconds; 50 leave room for a busy machine"
    assert time.perf_counter() - start < 20
    page.keyboard.press("End")
    page.click("#whole")
    assert text_of(page, "#count").startswith(f"{len(told.steps)} / ")


def test_the_ends_of_a_pass_of_many_thousand_steps_are_shown(show: Open) -> None:
    y = cr.tensor(1.0, requires_grad=True)
    for _ in range(20_000):
        y = -y
    page = show(cr.explain(y))
    assert page.text_content("#list .gap") == "… 19900 steps …"
    page.fill("#slider", "51")
    assert text_of(page, "#count") == "19951 / 20000"
    page.keyboard.press("End")
    assert text_of(page, "#count") == "20000 / 20000"


def test_values_that_are_no_numbers_are_shown(show: Open) -> None:
    import numpy as np

    x = cr.tensor([float("nan"), float("inf"), -1.0], requires_grad=True)
    z = cr.tensor(1 + 2j, requires_grad=True)
    with np.errstate(all="ignore"):
        told = cr.explain(x.log().sum() + z.abs() + cr.zeros(0, 2, requires_grad=True).sum())
    page = show(told)
    for _ in told.steps:
        page.keyboard.press("ArrowRight")
    page.click(".box.leaf >> text=x")
    assert "nan" in text_of(page, "#node") and "inf" in text_of(page, "#node")
