"""Colour, where the stream is a terminal that wants it."""

from __future__ import annotations

import os
from typing import TextIO

import typer


def styled(text: str, stream: TextIO, colour: str) -> str:
    """The text in bold and in a colour, or as it is where NO_COLOR, a dumb terminal or a file would not show it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else typer.style(text, fg=colour, bold=True)
