"""The table of a translation as a person reads it: in Markdown, for a plugin's README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training_hub.translation import How, Rule

BEGIN, END = "<!-- table: made from the rules -->", "<!-- end of table -->"
_SAID: Mapping[How, str] = {
    "exact": "exact",
    "approximate": "approximate",
    "hub": "applied by the hub",
    "refused": "refused",
}


def table(rules: Mapping[str, Rule]) -> str:
    """A row for each parameter: the framework's argument, how well it fits, and what is to be known."""
    lines = ["| parameter | argument | | |", "|---|---|---|---|"]
    for name, rule in rules.items():
        argument = f"`{rule.argument}`" if rule.argument else ""
        refusable = "; some values are refused, with the reason" if rule.refuse else ""
        note = (rule.note + refusable).removeprefix("; ").replace("|", "\\|")
        lines.append(f"| `{name}` | {argument} | {_SAID[rule.how]} | {note} |")
    return "\n".join(lines)


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
    fresh = f"{before}{BEGIN}\n\n{table(rules)}\n\n{END}{after}"
    if fresh != text and not check:
        readme.write_text(fresh, encoding="utf-8")
    return fresh == text
