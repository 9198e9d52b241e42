"""Commands that plugins bring: `training-hub NAME ...` calls a plugin's function with the arguments behind the name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import typer

_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""What stands behind the name is the plugin's to read, `--help` included."""


def plugin_commands() -> dict[str, Callable[[Sequence[str]], int | None]]:
    """Those of every plugin that loads, by name."""
    from training_hub.plugins import discovery

    loaded, _ = discovery.loadable()
    return {name: command for plugin in loaded.values() for name, command in plugin.commands.items()}


def command_of(name: str) -> Any:
    """The command of that name, as typer has it; None where no plugin brings it."""
    function = plugin_commands().get(name)
    if function is None:
        return None

    def run(context: typer.Context) -> None:
        raise typer.Exit(function(context.args) or 0)

    # Annotations are texts here, which typer would look up in this function's module.
    run.__annotations__ = {"context": typer.Context}
    summary = (inspect.getdoc(function) or name).splitlines()[0]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, help=summary, context_settings=_PASSED_ON)(run)
    return typer.main.get_command(app)
