"""How Sphinx builds these pages: ``sphinx-build -W -n docs build/docs``, or ``scripts/docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from cfmiddleware.version import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "cfmiddleware"
release = __version__
extensions = ["commandlist", "costtable", "errortable", "keytable", "logmembers", "metrictable"]
extensions += ["optiontable", "tracingvariables"]
exclude_patterns = ["_data", "_ext"]
html_theme = "furo"
html_title = f"cfmiddleware {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
highlight_language = "none"
smartquotes = False  # they would make one dash of the two of an option
