"""Anything that has curves: a run of ours, or a metrics file that a framework wrote without the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training_hub.errors import RunNotFoundError
from training_hub.reading.foreign import LOGS, NAMES, metrics_file, read_log, read_metrics
from training_hub.reading.history import History
from training_hub.reading.record import is_run, load
from training_hub.store.figure import Figure, figures_by_name


@dataclass(frozen=True)
class Source:
    """Curves, and a short name for them."""

    path: Path
    name: str
    history: History
    figures: Mapping[str, Figure]
    """What each of its figures is."""


def source(path: str | os.PathLike[str]) -> Source:
    """Read what is at a path: a run's directory or file, a framework's metrics file, or a directory that holds one.

    Raises:
        RunNotFoundError: There is neither.
        RunFormatError: A newer version wrote it, or it cannot be read.
    """
    place = Path(path)
    if (found := metrics_file(place) if place.is_file() or not is_run(place) else None) is not None:
        directory = (
            found.parent.parent if found.parent != place and found.parent.name.startswith("ch") else found.parent
        )
        return Source(found, directory.name or directory.resolve().name, read_metrics(found), figures_by_name(()))
    if not place.exists():
        raise RunNotFoundError(f"{place}: there is no such file or directory")
    if not is_run(place.parent if place.is_file() else place):
        raise RunNotFoundError(f"{place}: neither a run (run.json, events.jsonl) nor a metrics file ({NAMES}) is there")
    record = load(place)
    return Source(record.path, record.name, record.history, record.manifest.figures)


def log_source(file: Path, keys: Sequence[str]) -> Source:
    """Read a metrics file of any name, rows of JSON.

    Args:
        file: The file.
        keys: What it calls its loss, where that is none of the usual names; the first that a row has counts.

    Raises:
        RunNotFoundError: There is no such file.
        RunFormatError: It cannot be read.
    """
    if not file.is_file():
        raise RunNotFoundError(f"{file}: there is no such file")
    if metrics_file(file) and not (keys and file.name in LOGS):
        return source(file)
    return Source(file, file.parent.name or file.resolve().parent.name, read_log(file, keys), figures_by_name(()))
