"""Tables and text on stdout: as wide as the terminal, and whole in files and pipes."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table

_FILE_WIDTH = 320
"""Columns where no screen says how many."""


def console() -> Console:
    out = Console(highlight=False, markup=False, emoji=False)
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        out.width = _FILE_WIDTH
    return out


def table(*titles: str) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for title in titles:
        made.add_column(title, overflow="fold")
    return made
