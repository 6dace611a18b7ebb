"""What the drawings of this folder are made of: lines, arrows and words as SVG, in one hand."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, SOFT, ACCENT, WARN = "#1f2933", "#9aa5b1", "#0a58ca", "#b54708"

_STYLE = "text { font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 13px; }"


def text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = INK, weight: str = "") -> str:
    """Return words at a place; *anchor* says which end of them is there."""
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}"{bold}>{escape(words)}</text>'


def line(
    x1: float, y1: float, x2: float, y2: float, *, stroke: str = INK, dash: str = "", wide: float = 1.5
) -> str:
    """Return a straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="{stroke}" stroke-width="{wide:g}"{dashed}/>'


def arrow(x1: float, x2: float, y: float, *, stroke: str = INK, dash: str = "") -> str:
    """Return a horizontal arrow whose head is at *x2*."""
    back = -8 if x2 > x1 else 8
    head = f'<path d="M{x2:g} {y:g}l{back} -4v8z" fill="{stroke}"/>'
    return line(x1, y, x2 + back / 2, y, stroke=stroke, dash=dash) + head


def box(x: float, y: float, width: float, height: float, *, fill: str = "#eef2f7", stroke: str = SOFT) -> str:
    """Return a rectangle with round corners."""
    size = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {size} rx="4" fill="{fill}" stroke="{stroke}"/>'


def drawing(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return the whole file: *parts* on white, with a title for those who cannot see it."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *parts,
        "</svg>",
        "",
    ])  # fmt: skip
