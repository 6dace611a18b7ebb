"""Draws how a pull travels: ``python docs/pictures/pull.py > docs/pictures/pull.svg``."""

from __future__ import annotations

from svg import ACCENT, SOFT, arrow, box, drawing, line, text

LANES = {"client": 70, "wrapper": 300, "app": 480, "CloudFront": 640, "S3": 770}
NAMES = {"client": "docker, podman", "wrapper": "CloudFrontMiddleware", "app": "the registry app"}

#: From, to, and the words; from and to the same is work. ``maybe`` is what does not happen each time.
STEPS = [
    ("client", "wrapper", "1  GET /v2/team/app/blobs/sha256:ab12…", ""),
    ("wrapper", "app", "2  the client's own request", ""),
    ("app", "S3", "3  is the blob in this repository?", "maybe"),
    ("app", "wrapper", "4  200, for this digest", ""),
    ("wrapper", "wrapper", "5  the key below the Origin Path, signed until the window ends", ""),
    ("wrapper", "client", "6  307, Location: a signed URL", ""),
    ("client", "CloudFront", "7  GET the signed URL", ""),
    ("CloudFront", "CloudFront", "8  key, signature, expiry", ""),
    ("CloudFront", "S3", "9  Origin Path + path", "maybe"),
    ("CloudFront", "client", "10  the bytes", ""),
]
TOP, STEP, WIDTH = 64, 44, 830


def picture() -> str:
    """Return the picture as SVG."""
    bottom = TOP + STEP * len(STEPS) + 10
    parts = []
    for lane, x in LANES.items():
        label = NAMES.get(lane, lane)
        wide = 8.2 * len(label) + 16
        parts += [line(x, 40, x, bottom, stroke=SOFT, dash="3 4"), box(x - wide / 2, 12, wide, 28)]
        parts.append(text(x, 31, label, anchor="middle", weight="600"))
    for number, (begin, end, words, maybe) in enumerate(STEPS):
        y = TOP + STEP * number + 26
        x1, x2 = LANES[begin], LANES[end]
        if begin == end:
            wide = 7.2 * len(words) + 12
            left = min(x1 - 20, WIDTH - wide - 8)
            parts += [box(left, y - 20, wide, 26, fill="#fff7e6"), text(left + 8, y - 2, words)]
            continue
        colour = ACCENT if begin == "CloudFront" and end == "client" else "#1f2933"
        parts.append(arrow(x1, x2, y, stroke=colour, dash="6 4" if maybe else ""))
        parts.append(text(min(x1, x2) + 8, y - 7, words, fill=colour))
    note = "Dashed: only where it is not remembered (3) or not in CloudFront's cache (9)."
    parts.append(text(14, bottom + 24, note, fill="#52606d"))
    other = (
        "4: any other answer (401, 403, 404, 304, 416 …) goes to the client as it is, and nothing is signed."
    )
    parts.append(text(14, bottom + 44, other, fill="#52606d"))
    return drawing(WIDTH, bottom + 58, "How a pull travels", parts)


if __name__ == "__main__":
    print(picture(), end="")
