"""Metrics files that frameworks write by themselves, told apart by their names, read as a history.

Losses stand as the framework logged them: what it averages over, and which tokens it counts, is its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from training_hub.errors import RunFormatError
from training_hub.reading.history import History
from training_hub.store.events import Event, number, whole

_GLOBAL = re.compile(r"training_params_and_metrics_global\d+\.jsonl")
_OF_A_RANK = re.compile(r"training_metrics_\d+\.jsonl")
_STATE = "trainer_state.json"
LOGS = ("training_metrics.jsonl", "training_log.jsonl", "metrics.jsonl")
"""Rows of figures by name, as transformers' trainer logs them."""
NAMES = (
    "training_params_and_metrics_global0.jsonl, training_metrics_0.jsonl, training_metrics.jsonl, trainer_state.json"
)
"""What is looked for, for messages."""
_OTHER_NAMES = {
    **dict.fromkeys(("avg_loss", "avg_loss_backwards", "train_loss"), "loss"),
    **dict.fromkeys(("val_loss", "eval_loss"), "validation_loss"),
    "lr": "learning_rate",
    "gradnorm": "grad_norm",
    "overall_throughput": "samples_per_second",
}


def own_name(figure: str) -> str:
    """The hub's name of a figure that frameworks call otherwise."""
    return _OTHER_NAMES.get(figure, figure)


def metrics_file(path: Path) -> Path | None:
    """The metrics file that a path is or, as a directory, holds; None where there is none.

    Of several processes' files that of the first is taken, of several checkpoints' that of the newest.
    """
    if path.is_file():
        return path if _reader(path) else None
    found = sorted(
        (entry for entry in path.glob("training_*_*.jsonl") if _reader(entry)),
        key=lambda entry: (not _GLOBAL.fullmatch(entry.name), _numbers(entry.name)),
    )
    found += [path / name for name in LOGS if (path / name).is_file()]
    if found:
        return found[0]
    if (path / _STATE).is_file():
        return path / _STATE
    states = list(path.glob(f"checkpoint-*/{_STATE}"))
    return max(states, key=lambda state: _numbers(state.parent.name)) if states else None


def read_metrics(path: Path) -> History:
    """Read a framework's metrics file.

    Raises:
        RunFormatError: It cannot be read as one.
    """
    read = _reader(path)
    if read is None:
        raise RunFormatError(f"{path} is no metrics file; those known are {NAMES}")
    return _folded(path, read(path))


def read_log(path: Path, keys: Sequence[str]) -> History:
    """Read rows of JSON with figures by name, whatever the file is called.

    Args:
        path: The file.
        keys: What it calls its loss, where that is none of the usual names; the first that a row has counts.

    Raises:
        RunFormatError: It cannot be read.
    """
    return _folded(path, _log(path, [key for key in keys if own_name(key) == key]))


def _folded(path: Path, events: Iterator[Event]) -> History:
    history = History()
    try:
        for event in _told_once(events, history):
            history.receive(event)
    except OSError as error:
        raise RunFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    return history


def _reader(path: Path) -> Callable[[Path], Iterator[Event]] | None:
    if _GLOBAL.fullmatch(path.name):
        return _global
    if _OF_A_RANK.fullmatch(path.name):
        return _of_a_rank
    if path.name == _STATE:
        return _state
    return _log if path.name in LOGS else None


def _told_once(events: Iterator[Event], history: History) -> Iterator[Event]:
    """The events, with a start where a step comes again: the frameworks append to the file of an earlier attempt."""
    for event in events:
        if event["event"] == "step" and history.reached is not None and event["step"] <= history.reached:
            yield {"event": "start", "resumed_from": event["step"] - 1}
        if "tokens_of_step" in event:
            event["tokens"] = (history.steps.last("tokens") or 0.0) + (event["tokens_of_step"] or 0.0)
        yield event


def _global(path: Path) -> Iterator[Event]:
    for row in _rows(path):
        step, at = whole(row, "step"), {"time": _time(row)}
        if step is None:
            continue
        if "avg_loss" in row:
            yield {
                **at,
                "event": "step",
                "step": step,
                "epoch": _epoch(row, step, "num_epoch_steps"),
                "loss": row["avg_loss"],
                "learning_rate": row.get("lr"),
                "grad_norm": row.get("gradnorm"),
                "tokens_of_step": number(row, "num_loss_counted_tokens"),
            }
        elif "val_loss" in row:
            yield {**at, "event": "eval", "step": step, "validation_loss": row["val_loss"]}


def _of_a_rank(path: Path) -> Iterator[Event]:
    before: Event = {}
    for row in _rows(path):
        step, at = whole(row, "step"), {"time": _time(row)}
        if step is None:
            continue
        validated = number(row, "val_loss")
        # Each row repeats the newest validation loss; only that of this step comes with counts. One at the end of an
        # epoch shows in the row after it.
        here = "val_num_batches" in row
        if before and validated is not None and not here and validated != before["validated"]:
            yield {"event": "eval", "step": before["step"], "time": before["time"], "validation_loss": validated}
        yield {
            **at,
            "event": "step",
            "step": step,
            "epoch": _epoch(row, step, "steps_per_epoch"),
            "loss": row.get("loss"),
            "learning_rate": row.get("lr"),
            "grad_norm": row.get("grad_norm"),
            "tokens": row.get("total_tokens_accumulated"),
            "tokens_per_second": row.get("tokens_per_second"),
        }
        if here:
            yield {**at, "event": "eval", "step": step, "validation_loss": validated}
        before = {"step": step, "time": at["time"], "validated": validated}


def _state(path: Path) -> Iterator[Event]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunFormatError(f"{path} is damaged: {error}") from error
    log = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(log, list):
        raise RunFormatError(f"{path} has no log_history")
    for row in log:
        step = whole(row, "step") if isinstance(row, dict) else None
        if step is None:
            continue
        if "loss" in row:
            yield {
                "event": "step",
                "step": step,
                "max_steps": state.get("max_steps"),
                "epoch": row.get("epoch"),
                "loss": row["loss"],
                "learning_rate": row.get("learning_rate"),
                "grad_norm": row.get("grad_norm"),
                "tokens": row.get("num_tokens", row.get("num_input_tokens_seen")),
            }
        elif "eval_loss" in row:
            yield {"event": "eval", "step": step, "epoch": row.get("epoch"), "validation_loss": row["eval_loss"]}


def _log(path: Path, keys: Sequence[str] = ()) -> Iterator[Event]:
    for number_of_row, row in enumerate(_rows(path), 1):
        figures = {own_name(name): value for name, value in row.items() if number(row, name) is not None}
        if (loss := next((figures[key] for key in keys if key in figures), None)) is not None:
            figures["loss"] = loss
        step, at = whole(row, "step"), {"time": _time(row)}
        kind = "step" if "loss" in figures else "eval" if "validation_loss" in figures else None
        # What is told of the whole run comes once more, for its last step.
        if kind and "train_loss" not in row:
            yield {**at, **figures, "event": kind, "step": number_of_row if step is None else step}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole row; one that a crash cut off is passed over."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def _time(row: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(row.get("timestamp"))).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _epoch(row: dict[str, Any], step: int, name: str) -> float | None:
    """Passes over the rows, as a number that grows with each step."""
    steps = number(row, name)
    return step / steps if steps else number(row, "epoch")


def _numbers(name: str) -> int:
    found = re.search(r"(\d+)(?:\.jsonl)?$", name)
    return int(found.group(1)) if found else 0
