"""The page on wrapping has every reason for which a pull is not redirected, and the option that helps."""

from __future__ import annotations

import re

from lab import PROJECT

from cfmiddleware.middleware.misses import REASONS
from cfmiddleware.middleware.options import WrapperOptions

PAGE = (PROJECT / "docs" / "wrapping.rst").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^``([a-z0-9-]+)`` {2,}(\S.*)$", PAGE, re.MULTILINE))


def test_the_table_has_every_reason_and_no_other():
    assert list(ROWS) == list(REASONS)


def test_the_table_names_the_options_that_the_log_names():
    for reason, advice in REASONS.items():
        options = [name for name in WrapperOptions.PARSERS if re.search(rf"\b{name}\b", advice)]
        shown = ROWS[reason]
        assert not options or any(name in shown for name in options), reason
