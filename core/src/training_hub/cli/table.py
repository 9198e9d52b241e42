"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_FILE_WIDTH = 160
"""Columns where nobody's screen says how many: in files and pipes."""


def console() -> Console:
    """Prints to stdout, as wide as the terminal is."""
    out = Console(highlight=False, markup=False, emoji=False)
    if not sys.stdout.isatty():
        out.width = _FILE_WIDTH
    return out
