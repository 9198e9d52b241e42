"""A group with one subcommand for each algorithm, made when it is asked for."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from training_hub.cli.commands import SETTINGS, GroupedCommand, PlainGroup

if TYPE_CHECKING:
    from training_hub.cli.given import Given


class AlgorithmGroup(PlainGroup):
    """Offers every algorithm of the core and of plugins; a subclass says what is done with one."""

    def perform(self, given: Given, **flags: Any) -> None:
        """Do what the command is for."""
        raise NotImplementedError

    def flags(self) -> list[inspect.Parameter]:
        """Options of the command besides those of the algorithm."""
        return []

    def list_commands(self, ctx: Any) -> list[str]:
        from training_hub.plugins.registry import AlgorithmRegistry

        return AlgorithmRegistry.list_algorithms()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from training_hub.errors import AlgorithmNotFoundError
        from training_hub.plugins.registry import AlgorithmRegistry

        name = cmd_name if cmd_name.startswith("-") else cmd_name.replace("-", "_")
        for spelled in (cmd_name, name):
            try:
                return self._command(spelled, AlgorithmRegistry.get_algorithm(spelled))
            except AlgorithmNotFoundError as error:
                refusal = error
        if ctx.resilient_parsing:
            return None
        raise refusal

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # `train --config run.yaml`: the file names the algorithm.
        unnamed = args and args[0].startswith("-") and not {"--help", "-h"} & set(args)
        if unnamed and not ctx.resilient_parsing and (path := _config_in(args)):
            args = [_algorithm_of(path), *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def _command(self, name: str, algorithm: Any) -> Any:
        from training_hub.cli.options import given_values, signature
        from training_hub.plugins.registry import AlgorithmRegistry

        declared = AlgorithmRegistry.parameters(name)
        flags = [flag.name for flag in self.flags()]

        def command(**options: Any) -> None:
            from training_hub.cli.given import given

            own = {flag: options.pop(flag) for flag in flags}
            config, assignments = options.pop("config_"), options.pop("set_")
            self.perform(given(name, declared, given_values(declared, options), assignments or (), config), **own)

        own_options, *others = (parameters := list(signature(name, declared).parameters.values()))
        command.__signature__ = inspect.Signature([own_options, *self.flags(), *others])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in (*parameters, *self.flags())}
        summary = " ".join((inspect.getdoc(algorithm) or name).partition("\n\n")[0].split())
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, help=summary, cls=GroupedCommand, context_settings=SETTINGS)(command)
        return typer.main.get_command(app)


def _config_in(args: list[str]) -> Path | None:
    for position, argument in enumerate(args):
        if argument == "--config" and position + 1 < len(args):
            return Path(args[position + 1])
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config="))
    return None


def _algorithm_of(path: Path) -> str:
    from training_hub.cli.config_file import read_config
    from training_hub.cli.given import named_algorithm
    from training_hub.errors import ConfigError

    if named := named_algorithm(read_config(path)):
        return named
    raise ConfigError(f"--config {path}: it names no algorithm; add a line such as `algorithm: sft`, or say it here")
