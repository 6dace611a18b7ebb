"""The pages as `scripts/docs` has built them, in a browser: none is wider than a telephone or a screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import PROJECT
from lab.browser import Browser, browsing

pytestmark = [pytest.mark.site, pytest.mark.servers]

BUILT = PROJECT / "build" / "docs"

#: How wide a telephone and a screen are, in CSS pixels.
WIDTHS = {"telephone": 390, "screen": 1280}

#: What is wider than the page and does not scroll by itself.
WIDE = """
(() => {
  const page = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= page) return [];
  const isWide = e => e.getBoundingClientRect().right > page + 1;
  const wide = [...document.querySelectorAll("article *")].filter(isWide);
  const text = e => e.tagName + " " + e.textContent.trim().slice(0, 60);
  return wide.length ? wide.slice(0, 3).map(text) : ["the page"];
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def test_a_page_that_is_too_wide_is_found(browser: Browser, tmp_path: Path):
    page = tmp_path / "wide.html"
    head = '<!doctype html><meta name="viewport" content="width=device-width, initial-scale=1">'
    page.write_text(f'{head}<article><p>right<p style="width: 2000px">much too wide</article>')
    for name, width in WIDTHS.items():
        browser.be(width, mobile=name == "telephone")
        browser.open(page.as_uri())
        browser.wait_for("document.readyState === 'complete' && location.href.includes('wide.html')")
        assert browser.run(WIDE) == ["P much too wide"]


@pytest.mark.parametrize("name", WIDTHS)
def test_no_page_has_to_be_moved_sideways(browser: Browser, name: str):
    browser.be(WIDTHS[name], mobile=name == "telephone")
    pages = sorted(BUILT.glob("*.html"))
    assert len(pages) > 30, "scripts/docs builds the pages"
    wide = {}
    for page in pages:
        browser.open(page.as_uri())
        there = f"location.href.endsWith({json.dumps('/' + page.name)})"
        browser.wait_for(f"{there} && document.readyState === 'complete'")
        if found := browser.run(WIDE):
            wide[page.stem] = found
    assert wide == {}
