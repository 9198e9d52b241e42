"""The figures of a step as text, and how fast steps come."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from training_hub.store.events import Event, moment, number, whole
from training_hub.store.figure import Figure, of_its_own

MOST_SHOWN = 6
"""Figures of an algorithm's own that are shown at once."""


def loss_text(value: float) -> str:
    """A loss; NaN and infinity are shown as such."""
    return f"{value:.4f}" if not math.isfinite(value) or abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"


def figure_text(value: float) -> str:
    """A figure of any size."""
    return loss_text(value) if abs(value) < 1e5 or not math.isfinite(value) else f"{value:.4g}"


def count_text(value: float) -> str:
    """A count in at most four characters: 950, 12k, 3.4M."""
    if not math.isfinite(value):
        return "?"
    for unit in ("", "k", "M", "G"):
        if value < 999.5:
            return f"{value:.0f}{unit}" if value >= 9.95 or not unit else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.0f}T"


def duration_text(seconds: float) -> str:
    """A duration as a clock shows it: 0:42, 12:05, 1:02:33."""
    whole_seconds = round(max(0.0, seconds))
    minutes, rest = divmod(whole_seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def step_text(event: Event) -> str:
    """`step 10/100`, or what of it is known."""
    step, most = whole(event, "step"), whole(event, "max_steps")
    return f"step {'?' if step is None else step}" + (f"/{most}" if most else "")


def figures(event: Event, seconds_left: float | None, own: Iterable[Figure] = ()) -> list[str]:
    """What a person watches, each as a short text; what is not known is left out.

    Args:
        event: A step.
        seconds_left: Until the end of the run.
        own: What the algorithm says of figures; of many of its own the first ones are shown.
    """
    found: list[str] = []
    if (epoch := number(event, "epoch")) is not None:
        found.append(f"epoch {epoch:.2f}")
    if (loss := number(event, "loss")) is not None:
        found.append(f"loss {loss_text(loss)}")
    found += _told(event, of_its_own(own))
    if speed := number(event, "tokens_per_second"):
        found.append(f"{count_text(speed)} tok/s")
    if seconds_left:
        found.append(f"{duration_text(seconds_left)} left")
    return found


class Pace:
    """How long the remaining steps will take, judged by the last ones."""

    WINDOW = 50

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=self.WINDOW)

    def seconds_left(self, event: Event) -> float | None:
        """Take note of a step; None while that cannot be told."""
        step, most = whole(event, "step"), whole(event, "max_steps")
        if step is None or not most:
            return None
        self._seen.append((step, moment(event)))
        (first_step, first_time), (last_step, last_time) = self._seen[0], self._seen[-1]
        if last_step <= first_step or last_time <= first_time:
            return None
        return max(0, most - last_step) * (last_time - first_time) / (last_step - first_step)


def _told(event: Event, own: Iterable[Figure]) -> list[str]:
    told = ((figure.words, number(event, figure.name)) for figure in own)
    return [f"{words} {figure_text(value)}" for words, value in told if value is not None][:MOST_SHOWN]


def describe(event: Event, own: Iterable[Figure] = ()) -> str | None:
    """An event other than a step as a line; None for those that need none.

    Args:
        event: The event.
        own: What the algorithm says of figures.
    """
    at = f"step {step}: " if (step := whole(event, "step")) is not None else ""
    match event.get("event"):
        case "start":
            return _start(event)
        case "eval":
            loss = number(event, "validation_loss")
            found = [f"validation loss {loss_text(loss)}"] if loss is not None else []
            found += _told(event, [figure.of_validation() for figure in of_its_own(own)])
            return f"{at}{', '.join(found)}" if found else None
        case "protection":
            return _protection(event)
        case "save":
            return f"{at}saved {event.get('checkpoint', 'a checkpoint')}"
        case "warning":
            return f"{at}{event.get('message', '')}"
        case "fail":
            return f"failed: {event.get('error', '')}: {event.get('message', '')}"
        case _:
            return None


def _protection(event: Event) -> str | None:
    reached, kinds = number(event, "share"), event.get("kinds")
    if reached is None:
        return None
    found = [(name, kind) for name, kind in kinds.items() if isinstance(kind, dict)] if isinstance(kinds, dict) else []
    each = (
        f"{name} {(number(kind, 'protected') or 0) / trained:.0%} of {int(trained)}"
        for name, kind in found
        if (trained := number(kind, "trained"))
    )
    told = ", ".join(each)
    return f"protects {reached:.1%} of the weights in the layers{f': {told}' if told else ''}"


def _start(event: Event) -> str:
    counted = (
        ("rows", "row", "rows"),
        ("num_epochs", "epoch", "epochs"),
        ("max_steps", "step", "steps"),
        ("world_size", "process", "processes"),
    )
    parts = [
        f"{count} {one if count == 1 else many}"
        for name, one, many in counted
        if (count := whole(event, name)) is not None
    ]
    if batch := whole(event, "effective_batch_size"):
        parts.append(f"effective batch {batch}")
    who = " with ".join(str(event[name]) for name in ("algorithm", "backend") if event.get(name)) or "training"
    return f"{who}: {', '.join(parts)}" if parts else who
