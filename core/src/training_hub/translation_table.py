"""Keeps the table of a translation in a plugin's README as the rules have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training_hub.translation import Rule, reference

BEGIN, END = "<!-- table: made from the rules -->", "<!-- end of table -->"


def put(readme: Path, rules: Mapping[str, Rule], *, check: bool = False) -> bool:
    """Write the table between the marks of a README.

    Args:
        readme: The file; it has the lines `BEGIN` and `END`.
        rules: The table's rules.
        check: Only look, and write nothing.

    Returns:
        Whether the table was up to date.
    """
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    fresh = f"{before}{BEGIN}\n\n{reference(rules)}\n{END}{after}"
    if fresh != text and not check:
        readme.write_text(fresh, encoding="utf-8")
    return fresh == text
