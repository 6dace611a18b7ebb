"""Each picture of the pages is what the script beside it draws."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import pytest
from lab import PROJECT

PICTURES = PROJECT / "docs" / "pictures"


@pytest.mark.parametrize("picture", sorted(PICTURES.glob("*.svg")), ids=lambda picture: picture.stem)
def test_a_picture_is_what_its_script_draws(picture):
    script = picture.with_suffix(".py")
    drawn = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert drawn == picture.read_text(encoding="utf-8"), f"python {script} > {picture}"
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_each_picture_is_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in (PROJECT / "docs").glob("*.rst"))
    assert [
        picture.name for picture in PICTURES.glob("*.svg") if f"pictures/{picture.name}" not in pages
    ] == []
