"""The pages as `scripts/docs` has built them: each link within the site leads to a page, a file or an anchor
that is there, and nothing is fetched from elsewhere.
"""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from lab import PROJECT

pytestmark = pytest.mark.site

BUILT = PROJECT / "build" / "docs"

#: Attributes that lead somewhere, and the elements whose target a browser fetches by itself.
LEADS = ("href", "src", "srcset", "data")
FETCHED = ("script", "img", "iframe", "source", "object", "link")


class Page(HTMLParser):
    """The anchors of a page, and what it leads to: (element, target)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: set[tuple[str, str]] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in LEADS and value:
                self.targets.add((tag, value))


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def pages() -> list[Path]:
    found = sorted(BUILT.rglob("*.html"))
    assert len(found) > 30, "scripts/docs builds the pages"
    return found


@cache
def is_there(file: Path, anchor: str) -> bool:
    if BUILT not in file.parents or not file.is_file():
        return False
    return not anchor or file.suffix != ".html" or anchor in page(file).anchors


def broken(path: Path) -> list[str]:
    """Return the local targets of a page that are not there."""
    found = []
    for _, target in sorted(page(path).targets):
        if urlsplit(target).scheme or target.startswith("//"):
            continue
        parts = urlsplit(urljoin(path.as_uri(), target))
        if not is_there(Path(unquote(parts.path)), unquote(parts.fragment)):
            found.append(target)
    return found


def test_every_local_link_and_anchor_is_there():
    assert {str(path.relative_to(BUILT)): left for path in pages() if (left := broken(path))} == {}


def test_a_page_fetches_nothing_from_elsewhere():
    foreign = {
        target
        for path in pages()
        for tag, target in page(path).targets
        if tag in FETCHED and urlsplit(target).netloc
    }
    assert foreign == set()


def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "BUILT", tmp_path)
    (tmp_path / "other.html").write_text('<p id="here">', encoding="utf-8")
    first = tmp_path / "first.html"
    links = (
        "other.html",
        "other.html#here",
        "other.html#gone",
        "gone.html",
        "#gone",
        "https://example.com/x",
    )
    first.write_text("".join(f'<a href="{link}">' for link in links), encoding="utf-8")
    assert broken(first) == ["#gone", "gone.html", "other.html#gone"]


def test_the_search_knows_the_pages():
    index = (BUILT / "searchindex.js").read_text(encoding="utf-8")
    assert '"wrapping"' in index
    assert '"originpath"' in index
