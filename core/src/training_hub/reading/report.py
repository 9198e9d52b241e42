"""A report on a run: one file of HTML that needs nothing besides."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from training_hub.errors import OutputDirectoryError
from training_hub.reading.chart import SMALL, WIDE, Line, chart
from training_hub.reading.figures import count_text, duration_text, loss_text
from training_hub.reading.history import Series, points, told_points
from training_hub.reading.own_figures import own_figures
from training_hub.reading.page_style import STYLE
from training_hub.reading.record import RunRecord, load, moment_text
from training_hub.reading.reproduction import call, conditions, install_line
from training_hub.reading.thinning import Point, thinned
from training_hub.store.events import Event, whole
from training_hub.store.figure import LOSS, Figure

NAME = "report.html"


def write_report(run: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a run.

    Args:
        run: Its directory.
        output: The file; by default `report.html` in the run.

    Returns:
        The file that was written.

    Raises:
        RunNotFoundError: There is no run.
        RunFormatError: A newer version wrote it.
        OutputDirectoryError: The file cannot be written.
    """
    record = load(run)
    target = Path(output) if output is not None else record.path / NAME
    text = page(record)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Text of a run may hold halves of letters that no encoding has.
        target.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputDirectoryError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def page(run: RunRecord) -> str:
    """The report as HTML."""
    sections = (_warnings(run), _curves(run), _samples(run), _parameters(run), _reproduction(run), _surroundings(run))
    title = escape(f"{run.algorithm or 'run'}: {run.name}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{_head(run)}\n{chr(10).join(filter(None, sections))}\n"
        f"<footer>Written by Training Hub from run.json and events.jsonl.</footer>\n</main>\n</body>\n</html>\n"
    )


def _head(run: RunRecord) -> str:
    who = " with ".join(name for name in (run.algorithm, run.backend) if name)
    state = f'<span class="state {_word(run.state)}">{escape(run.state_text())}</span>'
    about = [state, escape(who), escape(str(run.manifest.model or ""))]
    tiles = "".join(f'<div class="tile"><b>{escape(v)}</b><span>{escape(n)}</span></div>' for n, v in _tiles(run))
    cause = ""
    if run.state in ("failed", "interrupted") and run.cause:
        cause = f'<div class="warning">{escape(run.cause)}</div>'
    return (
        f'<h1>{escape(run.name)}</h1>\n<p class="under">{" · ".join(filter(None, about))}</p>\n{cause}'
        f'<div class="tiles">{tiles}</div>'
    )


def _tiles(run: RunRecord) -> Iterator[tuple[str, str]]:
    history = run.history
    losses = history.steps["loss"]
    if losses:
        yield f"training loss, from {loss_text(losses[0])}", loss_text(losses[-1])
    if best := history.best_validation():
        yield f"lowest validation loss, step {best[0]}", loss_text(best[1])
    if history.reached is not None:
        yield "steps", f"{history.reached}/{history.max_steps}" if history.max_steps else str(history.reached)
    if (tokens := history.steps.last("tokens")) and math.isfinite(tokens):
        yield "tokens", count_text(tokens)
    if history.seconds:
        yield "in training", duration_text(history.seconds)
    if run.start:
        yield "started", moment_text(run.start)[5:16]


def _warnings(run: RunRecord) -> str:
    found = [f"{run.damage}; shown is what the events tell"] if run.damage else []
    for warned in run.history.warnings.values():
        at = f"step {warned.step}: " if warned.step is not None else ""
        found.append(f"{at}{warned.message}" + (f" ({warned.times} times)" if warned.times > 1 else ""))
    if (stop := run.history.ending("stop")) is not None:
        found.append(f"stopped at step {stop.get('step', '?')}: {stop.get('reason', '')}")
    losses = run.history.steps
    strange = next((at for at, loss in zip(losses.steps, losses["loss"], strict=True) if not math.isfinite(loss)), None)
    if strange is not None:
        found.append(f"from step {strange} on there are losses that are no numbers")
    return _section("Warnings", "".join(f'<div class="warning">{escape(text)}</div>' for text in found))


def _curves(run: RunRecord) -> str:
    steps, resumed, known = run.history.steps, run.history.resumptions(), run.manifest.figures
    drawn = [_figure(run, known[LOSS.name], wide=True)]
    others = {
        "learning_rate": "Learning rate",
        "grad_norm": "Norm of the gradient",
        "tokens_per_second": "Tokens a second",
    }
    for name, title in others.items():
        told = thinned(points(steps, name, "steps"), len(steps), _POINTS)
        if svg := chart(f"{title} by step", [Line(title, told, "training")], "step", SMALL, resumed):
            drawn.append(f"<figure><figcaption>{title}</figcaption>{svg}</figure>")
    drawn += [_figure(run, own.figure) for own in own_figures(run.manifest.own_figures, run.history)]
    charts = "".join(filter(None, drawn))
    return _section("Curves", f'<div class="charts">{charts}</div>' if charts else "")


def _figure(run: RunRecord, figure: Figure, *, wide: bool = False) -> str:
    """A figure of steps and of validations in one chart; empty where nothing was told of it."""
    steps, evaluations, resumed = run.history.steps, run.history.evaluations, run.history.resumptions()
    training, validation = _drawn(steps, figure.name), _drawn(evaluations, figure.of_validation().name)
    svg = chart(
        f"training and validation {figure.words} by step",
        [Line("training", training, "training"), Line("validation", validation, "validation", marked=True)],
        "step",
        WIDE if wide else SMALL,
        resumed,
        # A wide one is named above: its letters are read along with those of the page.
        "" if wide else figure.unit,
    )
    if not svg:
        return ""
    legend = '<i class="training">training</i>' if training else ""
    legend += '<i class="validation">validation</i>' if validation else ""
    legend += '<i class="resumed">resumed</i>' if resumed else ""
    title = escape(figure.label if wide else figure.words)
    begin = '<figure class="wide">' if wide else "<figure>"
    return f"{begin}<figcaption>{title[:1].upper()}{title[1:]}{legend}</figcaption>{svg}</figure>"


def _drawn(series: Series, name: str) -> list[Point]:
    """As much of a figure's curve as can be seen."""
    return thinned(told_points(series, name, "steps"), len(series), _POINTS)


_POINTS = 1000


def _samples(run: RunRecord) -> str:
    told = run.history.samples
    if not told:
        return ""
    first, last = told[0], told[-1]
    before, after = _by_prompt(first), _by_prompt(last)
    cards = []
    for prompt in dict.fromkeys([*before, *after]):
        columns = [(f"at step {whole(first, 'step')}", before.get(prompt))] if first is not last else []
        columns.append((f"at step {whole(last, 'step')}", after.get(prompt)))
        pair = "".join(
            f"<div><h3>{escape(title)}</h3>{escape(said)}</div>" for title, said in columns if said is not None
        )
        cards.append(
            f'<div class="said"><div class="prompt">{escape(prompt)}</div><div class="pair">{pair}</div></div>'
        )
    return _section("Samples", "".join(cards))


def _by_prompt(event: Event) -> dict[str, str]:
    samples = event.get("samples")
    return {
        _text(sample.get("prompt")): _text(sample.get("completion"))
        for sample in (samples if isinstance(samples, list) else [])
        if isinstance(sample, dict)
    }


def _parameters(run: RunRecord) -> str:
    manifest = run.manifest
    given = [(name, _text(value), manifest.origin(name) or "for the backend") for name, value in manifest.given.items()]
    rest = [(name, _text(value)) for name, value in manifest.parameters.items() if name not in manifest.given]
    text = _table(("chosen", "value", "from"), given) if given else ""
    if rest:
        text += (
            f"<details><summary>{len(rest)} at their defaults</summary>{_table(('parameter', 'value'), rest)}</details>"
        )
    return _section("Parameters", text)


def _reproduction(run: RunRecord) -> str:
    steps = [f"<pre>{escape(text)}</pre>" for text in (install_line(run.manifest), call(run.manifest)) if text]
    if also := conditions(run.manifest):
        steps.append("<p>The same has to be:</p><ul>" + "".join(f"<li>{escape(one)}</li>" for one in also) + "</ul>")
    return _section("How to reproduce", "".join(steps))


def _surroundings(run: RunRecord) -> str:
    manifest = run.manifest
    parts: dict[str, Mapping[str, Any]] = {"Versions": manifest.versions}
    parts |= {part: manifest.part(part) for part in ("data", "model", "git", "machine")}
    rows = [
        (title.capitalize() if not number else "", name, _text(value))
        for title, values in parts.items()
        for number, (name, value) in enumerate((n, v) for n, v in values.items() if v is not None)
    ]
    if choice := manifest.text("backend_choice"):
        rows.append(("Backend", "chosen", choice))
    rows += [
        ("Checkpoints" if not number else "", f"step {save.get('step', '?')}", _text(save.get("checkpoint")))
        for number, save in enumerate(run.history.saves)
    ]
    rows.append(("Directory", "", str(run.path.absolute())))
    return _section("Where it ran, and with what", _table(("", "", ""), rows))


def _section(title: str, text: str) -> str:
    return f"<section><h2>{title}</h2>{text}</section>" if text else ""


def _table(titles: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    titles = list(titles)
    head = "<tr>" + "".join(f"<th>{escape(title)}</th>" for title in titles) + "</tr>" if any(titles) else ""
    body = "".join(
        "<tr>"
        + "".join(f"<td{_CLASSES.get(titles[i], '')}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table>{head}{body}</table></div>'


_CLASSES = {"value": ' class="value"', "from": ' class="from"'}


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _word(state: str) -> str:
    """A state as a class of the page's style: whatever a manifest says, it stays inside the quotes."""
    return state if state.isalpha() else "unknown"
