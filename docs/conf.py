"""How Sphinx builds these pages: ``sphinx-build -W -n docs build/docs``, or ``scripts/docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from cfmiddleware.version import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "cfmiddleware"
release = __version__
extensions = ["keytable", "metrictable", "optiontable"]
exclude_patterns = ["_ext"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Container images through CloudFront",
    "page_width": "70rem",
    "body_max_width": "none",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
highlight_language = "none"
