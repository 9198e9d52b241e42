"""Writes the translation table into the README: `python plugins/instructlab/tests/write_table.py`."""

from __future__ import annotations

from pathlib import Path

from training_hub.devices import Devices
from training_hub.translation import reference
from training_hub_instructlab.rules import rules

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- table: written by tests/write_table.py -->\n", "<!-- end of table -->\n"


def with_table(text: str) -> str:
    """The README with the table as the rules have it now."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + reference(rules(Devices("cuda", 8), 8)) + END + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
