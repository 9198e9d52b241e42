"""Checkpoints of a run: complete once they are sealed, and made room for only by complete ones.

A checkpoint is a directory `checkpoint-<step>` in the run's. Whatever wrote it, a file `checkpoint.json` is put into it
last, with the names and sizes of all others. Without that file, or with another content than it names, the checkpoint
was left half-written by a crash: it is never resumed from and does not count as saved.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_hub.store.directory import read_json, write_json

SEAL = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int
    resumable: bool
    """Whether it holds what training goes on from, beside the weights."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the backend noted for itself."""


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / f"checkpoint-{step}"


def seal(directory: Path, step: int, *, resumable: bool, **facts: Any) -> Checkpoint:
    """Declare a checkpoint complete; all its files have been written."""
    (directory / SEAL).unlink(missing_ok=True)
    write_json(
        directory / SEAL,
        {"step": step, "resumable": resumable, "facts": facts, "files": dict(sorted(_files(directory)))},
    )
    return Checkpoint(directory, step, resumable, facts)


def _files(directory: Path) -> list[tuple[str, int]]:
    return [
        (path.relative_to(directory).as_posix(), path.stat().st_size)
        for path in directory.rglob("*")
        if path.is_file() and path.name != SEAL
    ]


def complete(directory: Path) -> Checkpoint | None:
    """The checkpoint in a directory; None where it is not complete."""
    try:
        found = read_json(directory / SEAL)
        here = dict(_files(directory))
        if any(here.get(name) != size for name, size in found["files"].items()):
            return None
        return Checkpoint(directory, int(found["step"]), bool(found["resumable"]), dict(found.get("facts", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def checkpoints(run: Path) -> list[Checkpoint]:
    """Every complete checkpoint of a run, the newest last."""
    found = [checkpoint for path in run.glob("checkpoint-*") if (checkpoint := complete(path))]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def newest(run: Path, *, resumable: bool = False) -> Checkpoint | None:
    """The newest complete checkpoint, of those to resume from where asked."""
    found = [checkpoint for checkpoint in checkpoints(run) if checkpoint.resumable or not resumable]
    return found[-1] if found else None


def remove_half_written(run: Path) -> list[Path]:
    """Delete what a crash left of checkpoints; return what was deleted."""
    broken = [path for path in run.glob("checkpoint-*") if complete(path) is None]
    for path in broken:
        shutil.rmtree(path, ignore_errors=True)
    return broken


def make_room(run: Path, keep: int, spared: Collection[int] = ()) -> None:
    """Delete all complete checkpoints but the newest ones.

    Args:
        run: The run's directory.
        keep: How many stay, at least one.
        spared: Steps whose checkpoints stay besides.
    """
    for old in checkpoints(run)[: -max(1, keep)]:
        if old.step not in spared:
            # Without its seal first: what is half deleted must not pass for complete.
            (old.path / SEAL).unlink(missing_ok=True)
            shutil.rmtree(old.path)
