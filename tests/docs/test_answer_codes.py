"""The page on checks says what CloudFront's and S3's refusals mean, as the check takes them."""

from __future__ import annotations

from lab.tables import compare, list_table

from cfmiddleware.cloudfront.answercodes import MEANINGS


def test_the_table_has_every_code():
    rows = [
        [
            known.by,
            f"``{known.code}``".replace("|", "``, ``") if known.code else "(a page)",
            known.pattern.replace("|", ", ") or " ",
            f"``{known.check}``",
            known.says,
            known.mend,
        ]
        for known in MEANINGS
    ]
    heads = ["From", "Code", "Message with", "Check", "What it means", "What mends it"]
    compare("check.rst", "answer-codes", list_table(heads, rows, (8, 14, 16, 12, 25, 25)))
