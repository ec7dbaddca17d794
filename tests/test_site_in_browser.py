"""The documentation site in a real browser: every page opens, from the disk, and nothing goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .explain.test_page_in_browser import browser  # noqa: F401
from .test_site import SITE

pytestmark = [pytest.mark.site, pytest.mark.browser]

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture
def problems() -> list[str]:
    if not (SITE / "index.html").exists():
        pytest.skip("make docs builds the site first")
    return []


@pytest.fixture(params=SIZES)
def page(request: Any, browser: Any, problems: list[str]) -> Iterator[Any]:  # noqa: F811
    """A page that keeps a list of what goes wrong."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("requestfailed", lambda request: problems.append(f"not there: {request.url}"))
    page.on("request", lambda request: is_local(request.url) or problems.append(f"request: {request.url}"))
    yield page
    context.close()


def is_local(address: str) -> bool:
    return address.startswith(("file:", "data:", "blob:"))


def test_every_page_opens_without_a_network_and_fits_its_window(page: Any, problems: list[str]) -> None:
    wide: list[Path] = []
    for file in sorted(SITE.rglob("*.html")):
        page.goto(file.as_uri())
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(file)
    assert problems == []
    assert wide == []


def test_the_page_in_a_tutorial_steps(page: Any, problems: list[str]) -> None:
    page.goto((SITE / "tutorial" / "graph.html").as_uri())
    frame = page.frame_locator(".interactive iframe")
    page.locator(".interactive").scroll_into_view_if_needed()
    assert "Backward pass of L" in frame.locator("#title").inner_text()
    assert frame.locator("#count").inner_text() == "0 / 6"
    frame.get_by_role("button", name="A step on").click()
    assert frame.locator("#count").inner_text() == "1 / 6"
    assert "log" in frame.locator("#step").inner_text()
    assert problems == []


def test_the_search_finds_what_is_there(page: Any, problems: list[str]) -> None:
    page.goto((SITE / "search.html").as_uri() + "?q=unbroadcast")
    page.get_by_text("Search finished").wait_for()
    assert "Broadcasting and unbroadcasting" in page.locator("#search-results").inner_text()
    assert problems == []


def test_formulas_are_drawn_as_formulas(page: Any) -> None:
    page.goto((SITE / "tutorial" / "derivative.html").as_uri())
    fraction = page.locator("mfrac").first
    above, below = (fraction.locator(":scope > *").nth(i).bounding_box() for i in (0, 1))
    assert above["y"] + above["height"] <= below["y"] + 1
