"""`runs list`, `runs show`, `runs compare`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from training_hub.cli.style import styled
from training_hub.cli.tables import console, table
from training_hub.errors import RunFormatError, RunNotFoundError
from training_hub.reading import as_data
from training_hub.reading.comparison import compare
from training_hub.reading.figures import count_text, duration_text, figure_text, loss_text
from training_hub.reading.own_figures import own_figures, values_text
from training_hub.reading.record import STATE_COLOURS, RunRecord, find, glance, load, moment_text


def print_list(places: Sequence[Path], *, as_json: bool) -> None:
    """Print every run at these places and below them, newest first."""
    for place in places:
        if not place.exists():
            raise RunNotFoundError(f"{place}: there is no such directory")
    runs: list[RunRecord] = []
    unread: list[tuple[Path, str]] = []
    for path in dict.fromkeys(path for place in places for path in find(place)):
        try:
            runs.append(glance(path))
        except RunFormatError as error:
            unread.append((path, str(error)))
    runs.sort(key=lambda run: run.start or 0.0, reverse=True)
    if as_json:
        _print_json([*map(as_data.summary, runs), *({"path": str(path), "problem": why} for path, why in unread)])
        return
    if not runs and not unread:
        typer.echo(f"no runs in {', '.join(map(str, places))}")
        return
    listed = table("run", "state", "started", "algorithm", "backend", "step", "loss", "validation")
    for run in runs:
        listed.add_row(*map(_text, _listed(run)))
    for path, _ in unread:
        listed.add_row(Text(str(path)), Text("unreadable", style="red"))
    console().print(listed)
    for run in runs:
        _warn_of_damage(run)
    for _, why in unread:
        _warn(why)


def print_run(path: Path, *, as_json: bool) -> None:
    """Print what there is to know of a run."""
    run = load(path)
    _warn_of_damage(run)
    if as_json:
        _print_json(as_data.details(run))
        return
    out = console()
    out.print(Text(str(run.path), style="bold"))
    facts = table("", "")
    facts.show_header = False
    for name, value in _facts(run):
        facts.add_row(Text(name, style="dim"), _text(value))
    out.print(facts)
    for title, values in (("parameter", run.manifest.given), ("version", run.manifest.versions)):
        if values:
            named = table(title, "value")
            for name, value in values.items():
                named.add_row(Text(name), Text(_value(value)))
            out.print()
            out.print(named)
    if warnings := run.history.warnings.values():
        out.print()
        for warned in warnings:
            times = f" ({warned.times} times)" if warned.times > 1 else ""
            out.print(Text.assemble(("warning: ", "yellow"), warned.message, times), soft_wrap=True)


def print_comparison(paths: Sequence[Path], *, as_json: bool) -> None:
    """Print what runs differ in, and their losses."""
    runs = [load(path) for path in paths]
    for run in runs:
        _warn_of_damage(run)
    found = compare(runs)
    if as_json:
        _print_json(as_data.compared(found))
        return
    out = console()
    names = _names(runs)
    differing = {**found.parameters, **found.versions, **found.circumstances}
    if differing:
        out.print(_beside("differs in", names, {name: map(_value, row) for name, row in differing.items()}))
    else:
        out.print(Text("same parameters, same versions, same data"))
    out.print()
    outcomes = {name: [_figure(name, value) for value in row] for name, row in found.outcomes.items()}
    out.print(_beside("outcome", names, outcomes))
    if found.steps:
        out.print()
        losses = zip(found.steps, found.losses, strict=True)
        out.print(_beside("loss at step", names, {str(step): [_loss(value) for value in row] for step, row in losses}))


def _listed(run: RunRecord) -> Iterator[str | Text]:
    history = run.history
    yield str(run.path)
    yield Text(run.state_text(), style=STATE_COLOURS.get(run.state, ""))
    yield moment_text(run.start) if run.start else ""
    yield run.algorithm or ""
    yield run.backend or ""
    yield _progress(run)
    yield _loss(history.steps.last("loss"))
    yield _loss(history.evaluations.last("validation_loss"))


def _facts(run: RunRecord) -> Iterator[tuple[str, str | Text]]:
    history, manifest = run.history, run.manifest
    yield "state", Text(run.state_text(), style=STATE_COLOURS.get(run.state, ""))
    if run.cause and run.state in ("failed", "interrupted"):
        yield "cause", run.cause
    if (stop := history.ending("stop")) is not None:
        yield "stopped", str(stop.get("reason", ""))
    if run.algorithm:
        yield "algorithm", run.algorithm
    if run.backend:
        yield "backend", manifest.text("backend_choice") or run.backend
    if run.start:
        yield "started", moment_text(run.start)
    if history.seconds:
        yield "trained for", duration_text(history.seconds)
    for step in history.resumptions():
        yield "resumed", f"from step {step}"
    if history.reached is not None:
        yield "step", _progress(run)
    if (loss := history.steps.last("loss")) is not None:
        yield "loss", f"{_loss(history.steps['loss'][0])} at first, {_loss(loss)} at last"
    if best := history.best_validation():
        yield "validation loss", f"{loss_text(best[1])} at best, at step {best[0]}"
    for own in own_figures(manifest.own_figures, history):
        yield own.figure.label, values_text(own)
    if tokens := history.steps.last("tokens"):
        yield "tokens", count_text(tokens)
    if checkpoint := manifest.text("checkpoint"):
        yield "model", checkpoint
    for part in ("data", "git", "machine"):
        if values := manifest.part(part):
            yield part, ", ".join(f"{name} {_value(value)}" for name, value in values.items() if value is not None)


def _names(runs: Sequence[RunRecord]) -> list[str]:
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.path) for run in runs]


def _beside(title: str, names: Sequence[str], rows: Mapping[str, Any]) -> Any:
    made = table(title, *names)
    for name, values in rows.items():
        made.add_row(*map(Text, (name, *values)))
    return made


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "seconds":
        return f"{value:.1f}"
    return figure_text(value) if isinstance(value, float) else str(value)


def _progress(run: RunRecord) -> str:
    reached, most = run.history.reached, run.history.max_steps
    return "" if reached is None else f"{reached}/{most}" if most else str(reached)


def _loss(value: float | None) -> str:
    return "-" if value is None else loss_text(value)


def _text(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) and value else json.dumps(value, default=str, ensure_ascii=False)


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, default=str))


def _warn_of_damage(run: RunRecord) -> None:
    if run.damage:
        _warn(f"{run.damage}; shown is what the events tell")


def _warn(text: str) -> None:
    typer.echo(f"{styled('warning:', sys.stderr, 'yellow')} {text}", err=True)
