"""Commands whose help shows options by group, and which start without importing what they do not need."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

from typer.core import TyperCommand, TyperGroup

from training_hub.cli.style import styled
from training_hub.errors import ParameterError

_WORDS = ("true", "false", "yes", "no", "on", "off", "1", "0")

SETTINGS: dict[str, Any] = {
    "help_option_names": ["--help", "-h"],
    "max_content_width": 110,
    # `--learning_rate` is understood as `--learning-rate`.
    "token_normalize_func": lambda name: name.replace("_", "-"),
}


class GroupedCommand(TyperCommand):
    """A command whose options are listed under the titles of their groups."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        switches = {name for param in self.params if getattr(param, "is_flag", False) for name in param.opts}
        for option, word in pairwise(args):
            name = option.replace("_", "-")
            if name in switches and word.lower() in _WORDS:
                raise ParameterError(
                    f"{name} {word}: {name} is a switch and takes no value; give {name}, or --no-{name.lstrip('-')}"
                )
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def get_help_option(self, ctx: Any) -> Any:
        return _with_default(super().get_help_option(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self.get_params(ctx), ctx, formatter)


class PlainGroup(TyperGroup):
    """A group of commands with help of the same look."""

    def get_help_option(self, ctx: Any) -> Any:
        return _with_default(super().get_help_option(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self.get_params(ctx), ctx, formatter)


def _with_default(option: Any) -> Any:
    if option is not None:
        # Typer imports pydantic to read a flag that was not given and has no default.
        option.default = False
    return option


def _write_options(params: Any, ctx: Any, formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        if record := param.get_help_record(ctx):
            title = "Arguments" if param.param_type_name == "argument" else "Options"
            sections.setdefault(getattr(param, "rich_help_panel", None) or title, []).append(record)
    for title, records in sections.items():
        with formatter.section(styled(title, sys.stdout, "cyan")):
            formatter.write_dl(records)
