"""Follow a run: one picture drawn again and again on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import shlex
import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from training_hub.reading.console import SHARE, SILENCE
from training_hub.reading.figures import MOST_SHOWN, describe, duration_text, figures, loss_text, step_text
from training_hub.reading.history import History
from training_hub.reading.own_figures import own_figures, values_text
from training_hub.reading.record import STATE_COLOURS
from training_hub.reading.sparkline import sparkline
from training_hub.reading.watched import Watched
from training_hub.store.events import Event, whole
from training_hub.store.figure import Figure

INTERVAL = 0.5
_WIDTH = 88
_WARNINGS = 3


def watch(path: Path, out: Console | None = None) -> None:
    """Show a run until it has ended; one that has ended already is shown once.

    Args:
        path: Its directory.
        out: Where to show it; by default stdout.

    Raises:
        RunNotFoundError: There is no run.
        RunFormatError: A newer version wrote it.
    """
    out = out or Console(highlight=False, markup=False, emoji=False)
    watched = Watched(path)
    if out.is_terminal and not out.is_dumb_terminal:
        _watch_live(watched, out)
    else:
        _watch_lines(watched, out)


def _watch_live(watched: Watched, out: Console) -> None:
    watched.look()
    with Live(picture(watched), console=out, auto_refresh=False) as live:
        while not watched.ended:
            time.sleep(INTERVAL)
            watched.look()
            live.update(picture(watched), refresh=True)


def _watch_lines(watched: Watched, out: Console) -> None:
    lines = _Lines(out, watched)
    watched.look()
    lines.so_far()
    silent = False
    while not watched.ended:
        time.sleep(INTERVAL)
        watched.look(lines.receive)
        silence = watched.silence
        if silence and not silent:
            lines.say(silence)
        silent = silence is not None
    lines.end()


class _Lines:
    """Events as lines, steps not too many of them."""

    def __init__(self, out: Console, watched: Watched) -> None:
        self._out = out
        self._watched = watched
        self._shown: Event = {}
        self._last: Event = {}
        self._at = 0.0

    def say(self, text: str) -> None:
        self._out.print(Text(text), soft_wrap=True)

    @property
    def _own(self) -> tuple[Figure, ...]:
        return self._watched.manifest.own_figures

    def so_far(self) -> None:
        """What came before somebody watched: of each kind the newest."""
        watched, history = self._watched, self._watched.history
        if history.starts:
            self.say(describe(history.starts[-1]) or "")
        for warned in history.warnings.values():
            self.say(f"warning: {warned.message}")
        if len(history.evaluations):
            self.say(describe(_last_evaluation(history), self._own) or "")
        if history.saves:
            self.say(describe(history.saves[-1]) or "")
        if watched.last_step:
            self._last = watched.last_step
            self._show(watched.seconds_left)

    def receive(self, event: Event) -> None:
        if event["event"] == "step":
            self._last = event
            if self._due():
                self._show(None)
        elif text := describe(event, self._own):
            self.say(f"warning: {text}" if event["event"] == "warning" else text)

    def end(self) -> None:
        if self._last is not self._shown:
            self._show(None)
        self.say(_verdict(self._watched))

    def _due(self) -> bool:
        step, before, most = (whole(self._last, "step"), whole(self._shown, "step"), whole(self._last, "max_steps"))
        far = bool(most) and step is not None and step - (before or 0) >= SHARE * (most or 0)
        return far or time.monotonic() - self._at >= SILENCE

    def _show(self, seconds_left: float | None) -> None:
        self._shown, self._at = self._last, time.monotonic()
        self.say("  ".join([step_text(self._last), *figures(self._last, seconds_left, self._own)]))


def _last_evaluation(history: History) -> Event:
    told = {
        name: column[-1]
        for name, column in history.evaluations.columns.items()
        if name.startswith("validation_") and not math.isnan(column[-1])
    }
    return {"event": "eval", "step": history.evaluations.steps[-1], **(told or {"validation_loss": math.nan})}


def picture(watched: Watched) -> RenderableType:
    """The run as one picture."""
    record, history = watched.record, watched.history
    colour = STATE_COLOURS.get(record.state, "white")
    who = " with ".join(name for name in (record.algorithm, record.backend) if name)
    parts: list[RenderableType] = [_head(watched, who, colour)]
    if history.reached is not None:
        parts += [_progress(watched, colour), Text("  ".join(figures(watched.last_step, _left(watched))))]
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _facts(watched):
        facts.add_row(Text(name, style="dim"), value)
    if facts.row_count:
        parts += [Text(), facts]
    for warned in list(history.warnings.values())[-_WARNINGS:]:
        parts.append(Text.assemble(("warning: ", "yellow"), warned.message))
    if watched.damage:
        parts.append(Text.assemble(("warning: ", "yellow"), watched.damage))
    if watched.ended:
        parts += [Text(), Text(_verdict(watched), style=colour)]
    elif silence := watched.silence:
        parts += [Text(), Text(f"{silence}; was it killed?", style="yellow")]
    return Panel(Group(*parts), title=Text(str(record.path)), title_align="left", width=_WIDTH, border_style="dim")


def _head(watched: Watched, who: str, colour: str) -> Text:
    model = watched.manifest.model
    return Text.assemble((watched.record.state, f"bold {colour}"), f"  {who}", (f"  {model}" if model else "", "dim"))


def _progress(watched: Watched, colour: str) -> RenderableType:
    reached, most = watched.history.reached or 0, watched.history.max_steps
    row = Table.grid(expand=True, padding=(0, 2, 0, 0))
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    bar: RenderableType = Text()
    if most:
        bar = ProgressBar(most, min(reached, most), style="dim", complete_style=colour, finished_style=colour)
    row.add_row(Text(step_text({"step": reached, "max_steps": most})), bar)
    return row


def _facts(watched: Watched) -> list[tuple[str, Text]]:
    history = watched.history
    found: list[tuple[str, Text]] = []
    if len(history.steps) > 1:
        losses = history.steps["loss"]
        text = f" {loss_text(losses[0])} to {loss_text(losses[-1])}"
        found.append(("loss", Text.assemble((sparkline(losses, 44), "cyan"), text)))
    own = own_figures(watched.manifest.own_figures, history)[:MOST_SHOWN]
    if history.evaluations.last("validation_loss") is not None or (len(history.evaluations) and not own):
        best = history.best_validation()
        last = loss_text(history.evaluations["validation_loss"][-1])
        found.append(("validation", Text(last + (f", lowest {loss_text(best[1])} at step {best[0]}" if best else ""))))
    for figure in own:
        curve = sparkline(history.steps[figure.figure.name], 20)
        unit = f" ({figure.figure.unit})" if figure.figure.unit else ""
        found.append((figure.figure.words, Text.assemble((curve, "cyan"), f" {values_text(figure)}{unit}")))
    if history.saves:
        found.append(("saved", Text(str(history.saves[-1].get("checkpoint", "")), overflow="fold")))
    if history.seconds:
        found.append(("trained for", Text(duration_text(history.seconds))))
    if resumed := history.resumptions():
        found.append(("resumed", Text(f"from step {resumed[-1]}")))
    return found


def _left(watched: Watched) -> float | None:
    return None if watched.ended else watched.seconds_left


def _verdict(watched: Watched) -> str:
    record = watched.record
    if record.state in ("failed", "interrupted"):
        return f"{record.state}: {record.cause or 'no cause was told'}"
    if record.state == "killed":
        return f"killed; go on with it: training-hub resume {shlex.quote(str(record.path))}"
    stop = watched.history.ending("stop")
    return f"{record.state}: {stop.get('reason', '')}" if stop else record.state
