"""Commands whose help shows options by group, without the cost of importing rich for it."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from training_hub.cli.style import styled

SETTINGS: dict[str, Any] = {
    "help_option_names": ["--help", "-h"],
    "max_content_width": 110,
    # `--learning_rate` is understood as `--learning-rate`.
    "token_normalize_func": lambda name: name.replace("_", "-"),
}


class GroupedCommand(TyperCommand):
    """A command whose options are listed under the titles of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self.get_params(ctx), ctx, formatter)


class PlainGroup(TyperGroup):
    """A group of commands with help of the same look."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        write_options(self.get_params(ctx), ctx, formatter)


def write_options(params: Any, ctx: Any, formatter: Any) -> None:
    """Write the options' help, a section for each group."""
    import sys

    sections: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        if record := param.get_help_record(ctx):
            sections.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(record)
    # The command's own option of --help is made last, and belongs to the first section.
    for title, records in sections.items():
        with formatter.section(styled(title, sys.stdout, "cyan")):
            formatter.write_dl(records)
