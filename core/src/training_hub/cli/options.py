"""The options of `train` and `plan`, made from an algorithm's declared parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from training_hub.cli.values import choices, is_list, kind, members, value_of, writable
from training_hub.parameters.declaration import REQUIRED, Derived, Parameter
from training_hub.parameters.description import expectation

RESERVED = ("config", "set", "json", "debug", "help")
"""Options of the command itself; a parameter of such a name is given with --set or in a file."""


def spelling(name: str) -> str:
    """`learning_rate` as `--learning-rate`."""
    return "--" + name.replace("_", "-")


def offered(declared: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters that can be given as options."""
    return {name: p for name, p in declared.items() if name not in RESERVED and writable(p.type)}


def signature(algorithm: str, declared: Mapping[str, Parameter]) -> inspect.Signature:
    """Parameters for typer: `config_`, `set_` and one for each parameter that is offered."""
    own = [
        _keyword(
            "config_",
            Path | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help="YAML or JSON file of parameters by name, and of algorithm and backend; options win over it.",
                rich_help_panel="Run",
            ),
        ),
        _keyword(
            "set_",
            list[str] | None,
            typer.Option(
                "--set",
                metavar="NAME=VALUE",
                help="An argument of the backend's framework, the value as YAML; may be repeated.",
                rich_help_panel="Run",
            ),
        ),
    ]
    return inspect.Signature([*own, *(_option(algorithm, p) for p in offered(declared).values())])


def given_values(declared: Mapping[str, Parameter], options: Mapping[str, Any]) -> dict[str, Any]:
    """Values from what typer read."""
    values: dict[str, Any] = {}
    for name, read in options.items():
        if read is None or isinstance(read, bool):
            values[name] = read
        else:
            values[name] = value_of(name, declared[name].type, read if isinstance(read, list) else [read])
    return values


def _keyword(name: str, annotation: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option]
    )


def _option(algorithm: str, parameter: Parameter) -> inspect.Parameter:
    found = members(parameter.type)
    about: dict[str, Any] = {"help": _help(parameter), "rich_help_panel": parameter.group, "show_default": False}
    name = spelling(parameter.name)
    if found == (bool,):
        declaration = f"{name}/--no-{name.removeprefix('--')}"
        return _keyword(parameter.name, bool | None, typer.Option(declaration, **about))
    words = choices(parameter.type)
    if parameter.name == "backend":
        about["autocompletion"] = lambda: _backends(algorithm)
    elif words:
        about["autocompletion"] = lambda: words
    repeated = any(map(is_list, found))
    option = typer.Option(name, metavar=kind(parameter.type), **about)
    return _keyword(parameter.name, (list[str] if repeated else str) | None, option)


def _backends(algorithm: str) -> list[str]:
    from training_hub.plugins.registry import AlgorithmRegistry

    return AlgorithmRegistry.list_backends(algorithm)


def _help(parameter: Parameter) -> str:
    facts = [] if members(parameter.type) in ((bool,), (str,)) else [expectation(parameter.type)]
    default = parameter.default
    if default is REQUIRED:
        facts.append("required")
    elif isinstance(default, Derived):
        facts.append(f"default: {default.rule}")
    elif isinstance(default, bool):
        facts.append(f"default: {'on' if default else 'off'}" if not facts else f"default: {str(default).lower()}")
    # None means "not given"; what happens then is in the help itself.
    elif default is not None:
        facts.append(f"default: {default}")
    return f"{parameter.help} ({'; '.join(facts)})" if facts else parameter.help
