"""Draws when URLs of two blobs expire, as the package reckons it:
``python docs/pictures/windows.py > docs/pictures/windows.svg``.
"""

from __future__ import annotations

from itertools import pairwise

from svg import ACCENT, SOFT, WARN, arrow, drawing, line, text

from cfmiddleware.signing.windows import ExpiryWindow

MINUTES, DURATION = 30, 20
BLOBS = {"sha256:ab12…": ("ab12" + "0" * 60, ACCENT), "sha256:5c07…": ("5c07" + "0" * 60, WARN)}
#: Pulls of each blob, in minutes.
PULLS = (1, 3.5, 4.5, 7, 9.5)
LEFT, SCALE, WIDTH, ROW = 120, 18, 800, 20


def picture() -> str:
    """Return the picture as SVG."""
    windows = ExpiryWindow(DURATION * 60)
    parts, y = [], 60.0
    height = 60 + len(BLOBS) * (len(PULLS) * ROW + 44) + 40
    for minute in range(0, MINUTES + 1, 5):
        x = LEFT + minute * SCALE
        parts.append(line(x, 40, x, height - 50, stroke="#e4e7eb"))
        parts.append(text(x, 30, f"{minute} min", anchor="middle", fill="#52606d"))
    for name, (digest, colour) in BLOBS.items():
        parts.append(text(10, y + 12, name, weight="600"))
        ends = [windows.expires(digest, minute * 60) for minute in PULLS]
        for minute, end in zip(PULLS, ends, strict=True):
            begin, until = LEFT + minute * SCALE, LEFT + end / 60 * SCALE
            parts += [f'<circle cx="{begin:g}" cy="{y + 8:g}" r="4" fill="{colour}"/>']
            parts.append(arrow(begin, until, y + 8, stroke=colour))
            y += ROW
        shown = sorted(set(ends))
        for first, second in pairwise(shown):
            x1, x2 = LEFT + first / 60 * SCALE, LEFT + second / 60 * SCALE
            parts.append(line(x1, y + 10, x2, y + 10, stroke=SOFT))
            parts.append(text((x1 + x2) / 2, y + 25, "window", anchor="middle", fill="#52606d"))
        y += 44
    said = (
        f"A dot is a pull, its arrow the life of the URL: duration {DURATION} min, "
        f"window {windows.window // 60} min. The same end is the same URL."
    )
    parts.append(text(10, height - 24, said, fill="#52606d"))
    return drawing(WIDTH, height - 8, "When signed URLs expire", parts)


if __name__ == "__main__":
    print(picture(), end="")
