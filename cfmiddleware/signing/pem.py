"""PEM: the textual armour around keys (RFC 7468; the older headers of RFC 1421)."""

from __future__ import annotations

import base64
import binascii
import re
import textwrap
from typing import NamedTuple

_BEGIN = "-----BEGIN "
_DASHES = "-----"
_LABEL = re.compile(r"[A-Z0-9 ]+")

#: No label of a key is longer. A longer text is not a label.
_MAX_LABEL = 40


class PEMError(ValueError):
    """The text has no PEM block, or a broken one. The message never quotes the text."""


class Block(NamedTuple):
    """What lies between one pair of BEGIN and END lines."""

    label: str
    body: str

    @property
    def encrypted(self) -> bool:
        """Return whether the block's headers say that it is encrypted (``Proc-Type: 4,ENCRYPTED``)."""
        return "Proc-Type:" in self.body and "ENCRYPTED" in self.body

    def decode(self) -> bytes:
        """Return the bytes that the block holds.

        :raises PEMError: when it is not base64, or empty.
        """
        body = self.body
        if ":" in body:
            # Headers end at the first empty line (RFC 1421, section 4.4).
            body = body.replace("\r\n", "\n").partition("\n\n")[2]
        try:
            content = base64.b64decode("".join(body.split()), validate=True)
        except (binascii.Error, ValueError):
            # The cause is dropped: a traceback that shows it could show the key as well.
            raise PEMError("is broken: what lies between BEGIN and END is not base64") from None
        if not content:
            raise PEMError("is broken: nothing lies between BEGIN and END")
        return content

    def __repr__(self) -> str:
        return f"<PEM block {self.label!r}>"


def find_blocks(text: str) -> list[Block]:
    """Return the PEM blocks of *text* in their order; text around them and all line ends are accepted.

    :raises PEMError: when there is none, or one that does not end.
    """
    # Environment files and stores of secrets write line ends as two letters; a key has no backslash.
    text = text.replace("\\r\\n", "\n").replace("\\n", "\n")
    blocks: list[Block] = []
    position = 0
    while (start := text.find(_BEGIN, position)) >= 0:
        position = start + len(_BEGIN)
        end = text.find(_DASHES, position, position + _MAX_LABEL + len(_DASHES))
        label = text[position:end] if end >= 0 else ""
        if not _LABEL.fullmatch(label):
            continue
        body = end + len(_DASHES)
        footer = f"-----END {label}-----"
        finish = text.find(footer, body)
        if finish < 0:
            raise PEMError("is broken: it has a BEGIN line without its END line")
        blocks.append(Block(label, text[body:finish]))
        position = finish + len(footer)
    if not blocks:
        raise PEMError("is not PEM: it has no -----BEGIN line")
    return blocks


def armour(label: str, content: bytes) -> str:
    """Return *content* as a PEM block, with a line feed at its end."""
    lines = textwrap.wrap(base64.b64encode(content).decode("ascii"), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
