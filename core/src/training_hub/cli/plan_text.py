"""A plan as a person reads it."""

from __future__ import annotations

import json
import shlex
import textwrap
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from training_hub.backends.translation import Item
from training_hub.cli.plan import Plan, as_data, command, is_secret
from training_hub.cli.tables import console, table
from training_hub.parameters.resolution import CALL

_WORDS = {"exact": "exact", "approximate": "approximate", "hub": "by hub", "unused": "unused", "refused": "refused"}
_TABLE_WIDTH = 100
"""Narrower screens get a paragraph for each parameter."""
_COLOURS = {"exact": "green", "approximate": "yellow", "hub": "cyan", "unused": "dim", "refused": "bold red"}


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print the plan to stdout, and nothing else."""
    if as_json:
        typer.echo(json.dumps(as_data(plan), indent=2, default=str))
        return
    out = console()
    out.print(Text(f"{plan.parameters.algorithm}: {plan.backend.chosen_because}", style="bold"))
    if plan.checked:
        out.print(Text(plan.checked))
    if not plan.translates:
        out.print(
            Text("This backend has no translation: everything is handed over as it is, and model and data unseen.")
        )
    _print_items(out, plan)
    if plan.translation:
        _print_settings(out, plan)
    if batches := plan.batches:
        out.print(
            Text(
                f"\nbatches: effective_batch_size {batches.effective_batch_size} = micro_batch_size "
                f"{batches.micro_batch_size} x gradient_accumulation_steps {batches.gradient_accumulation_steps} x "
                f"{batches.world_size} process{'es' if batches.world_size != 1 else ''}"
            )
        )
    _print_processes(out, plan)
    _print_verdict(out, plan)


def _print_verdict(out: Console, plan: Plan) -> None:
    out.print()
    for warning in plan.translation.warnings if plan.translation else ():
        out.print(Text.assemble(("warning: ", "bold yellow"), warning), soft_wrap=True)
    for problem in plan.problems:
        out.print(Text.assemble(("problem: ", "bold red"), problem), soft_wrap=True)
    if plan.problems:
        verdict = "a run would be refused"
    else:
        verdict = (
            "nothing stands in the way of a run" if plan.translates else "the hub itself has no objection to a run"
        )
    out.print(Text(verdict, style="bold"))


def _quiet(item: Item) -> bool:
    """Whether the item is nobody's wish and changes nothing."""
    return item.how == "unused" and item.origin == "default"


def _print_items(out: Console, plan: Plan) -> None:
    # What is refused comes first: it has to be mended.
    shown = sorted(
        (item for item in plan.items() if not _quiet(item) and item.parameter != "backend"),
        key=lambda item: item.how != "refused",
    )
    out.print()
    if out.width >= _TABLE_WIDTH:
        listed = table("parameter", "value", "from", "", "becomes")
        for item in shown:
            listed.add_row(Text(item.parameter), *_cells(plan, item))
        out.print(listed)
    else:
        for item in shown:
            value, origin, how, becomes = _cells(plan, item)
            out.print(
                Text.assemble((item.parameter, "bold"), " = ", value, "  ", how, "  (", origin, ")"), soft_wrap=True
            )
            if becomes:
                out.print(Padding(becomes, (0, 0, 0, 4), expand=False))
    if names := [item.parameter for item in plan.items() if _quiet(item) and item.parameter != "backend"]:
        text = f"unused, because nothing asks for it: {', '.join(names)}"
        out.print(Text("\n" + textwrap.fill(text, out.width, break_on_hyphens=False), style="dim"))


def _cells(plan: Plan, item: Item) -> tuple[Text, Text, Text, Text]:
    secret = is_secret(plan, item)
    word = _WORDS[item.how] if plan.translation else "as it is"
    return (
        Text("a secret" if secret else _value(item.value)),
        Text(_origin(item.origin)),
        Text(word, style=_COLOURS[item.how]),
        _becomes(item, secret),
    )


def _becomes(item: Item, secret: bool) -> Text:
    parts: list[tuple[str, str]] = []
    if item.argument:
        parts.append((item.argument, ""))
        # The value is repeated only where the framework gets another one.
        if item.argument_value is not None and item.argument_value != item.value and not secret:
            parts.append((f" = {_value(item.argument_value)}", ""))
    if item.note:
        parts.append((("; " if parts else "") + item.note, "dim"))
    return Text.assemble(*parts)


def _print_settings(out: Console, plan: Plan) -> None:
    if not plan.translation or not plan.translation.settings:
        return
    listed = table("set by the backend", "value", "why")
    for item in plan.translation.settings:
        listed.add_row(Text(item.argument), Text(_value(item.argument_value)), Text(item.note, style="dim"))
    out.print()
    out.print(listed)


def _print_processes(out: Console, plan: Plan) -> None:
    if not plan.translation:
        return
    launch = plan.translation.launch
    if launch is None:
        out.print(Text("\nprocesses: none; it trains in the process that calls"))
        return
    variables = [f"{name}={value}" for name, value in launch.environment.items()]
    out.print(Text(f"\nprocesses: {launch.processes} on each of {launch.nodes} node{'s' if launch.nodes != 1 else ''}"))
    out.print(Text(f"  {shlex.join([*variables, *command(plan)])}"), soft_wrap=True)


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, default=str)


def _origin(origin: str) -> str:
    return "command line" if origin == CALL else origin
