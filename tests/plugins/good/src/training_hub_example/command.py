"""A command of the plugin's own."""

from collections.abc import Sequence
from pathlib import Path

from training_hub.plugin import UserError


def count_words(arguments: Sequence[str]) -> int | None:
    """Count the words of files."""
    if not arguments:
        raise UserError("count-words: give the files to count")
    print(sum(len(Path(name).read_text(encoding="utf-8").split()) for name in arguments))  # noqa: T201
    return None
