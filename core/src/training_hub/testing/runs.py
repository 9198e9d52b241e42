"""The runs that the checks look at: each is made once for a test class, when a check first asks for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.backends.base import FrameworkBackend
from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
from training_hub.store.events import Event, read_events
from training_hub.testing.on_ranks import RankNotes
from training_hub.testing.toy import conversations, make_model, write_rows

if TYPE_CHECKING:
    from training_hub.testing.checks.subject import Subject

ROWS = 20
BATCH = 8
EPOCHS = 4
"""Three steps an epoch, of 8, 8 and 4 rows."""
LEARNING_RATE = 2e-3

STEADY_BATCH = 2
STEADY_STEPS = EPOCHS * ROWS // STEADY_BATCH
_STEADY: Mapping[str, Any] = {"num_epochs": EPOCHS, "effective_batch_size": STEADY_BATCH}

KINDS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "main": ({"num_epochs": EPOCHS, "effective_batch_size": BATCH}, {"checkpoint_at_epoch": True}),
    "whole": ({"num_epochs": 1, "effective_batch_size": ROWS}, {"max_tokens_per_gpu": 512}),
    "two": ({"num_epochs": EPOCHS, "effective_batch_size": BATCH, "nproc_per_node": 2}, {}),
    "steady": (_STEADY, {}),
    "stopped": (_STEADY, {}),
    "resumed": ({**_STEADY, "resume": True}, {}),
    "ranks": (_STEADY, {"nproc_per_node": 2}),
    "defaults": ({}, {}),
}
"""Parameters that each run needs, and those that are left out where the backend refuses them.

`main` is cut in ragged steps, `whole` has all rows in its one step and several micro-batches, `two` is `main` on two
processes. `steady` has many small steps, `stopped` is told to stop as it begins, and `resumed` goes on with it; `ranks`
is told to stop by a callback on the last rank. `defaults` is given nothing but where things are.
"""
_PLACES = {"resumed": "stopped"}
WELCOME: Mapping[str, Any] = {"lr_scheduler": "constant"}
"""Left out of every run where the backend refuses it, and of the one of defaults."""
_ALWAYS: Mapping[str, Any] = {"learning_rate": LEARNING_RATE, "max_seq_len": 256}
"""Of every run but the one of defaults."""


class Recorder(TrainingHubCallback):
    """Notes every call, and asks the run to stop once it has begun."""

    REASON = "the kit asks for it"

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        for name in vars(TrainingHubCallback):
            if name.startswith("on_"):
                setattr(self, name, partial(self._note, name))

    def _note(self, name: str, context: TrainingHubContext) -> None:
        self.calls.append((name, context.step))
        if name == "on_train_begin":
            context.stop(self.REASON)


class NotPossibleError(Exception):
    """The backend cannot do what a run needs; the message says why."""


@dataclass(frozen=True)
class Toy:
    """What is trained, and on what."""

    model: Path
    rows: Path


def make_toy(directory: Path) -> Toy:
    """Make the model and the rows."""
    directory.mkdir(parents=True, exist_ok=True)
    toy = Toy(directory / "model", directory / "rows.jsonl")
    make_model(toy.model)
    write_rows(toy.rows, conversations(ROWS))
    return toy


@dataclass(frozen=True)
class Trained:
    """A run that has ended well."""

    asked: Mapping[str, Any]
    directory: Path
    result: Any
    events: tuple[Event, ...]

    def of_kind(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def steps(self) -> list[Event]:
        return self.of_kind("step")

    @property
    def losses(self) -> list[float]:
        return [event["loss"] for event in self.steps]

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "run.json").read_text(encoding="utf-8"))
        return found


class Runs:
    """Runs of one backend by algorithm and kind."""

    def __init__(self, subject: type[Subject], directory: Path, toy: Toy) -> None:
        self.subject = subject
        self.directory = directory
        self.toy = toy
        self._made: dict[tuple[str, str], Trained | BaseException] = {}

    def make(self, algorithm: str, kind: str) -> Trained:
        """The run; the first time it trains.

        Raises:
            NotPossibleError: The backend says that it cannot.
            Exception: Training failed, now or the first time.
        """
        if (algorithm, kind) not in self._made:
            try:
                self._made[algorithm, kind] = self._train(algorithm, kind)
            except Exception as error:
                self._made[algorithm, kind] = error
        found = self._made[algorithm, kind]
        if isinstance(found, BaseException):
            raise found
        return found

    def ready(self, algorithm: str, kind: str) -> Trained | None:
        """The run, or None where it has failed or cannot be made."""
        try:
            return self.make(algorithm, kind)
        except Exception:
            return None

    def _train(self, algorithm: str, kind: str) -> Trained:
        needed, welcome = KINDS[kind]
        # What is resumed lies where it was stopped.
        asked = self.asked(algorithm, needed, welcome, f"{algorithm}-{_PLACES.get(kind, kind)}")
        if kind == "stopped":
            asked["callbacks"] = Recorder()
        if kind == "ranks":
            notes = self.directory / f"{algorithm}-notes"
            notes.mkdir()
            backend = self.subject.kind()
            asked["callbacks"] = RankNotes(
                str(notes), stops=issubclass(backend, FrameworkBackend) and "stop" in backend.controls
            )
        result = self.train(algorithm, asked)
        directory = Path(asked["ckpt_output_dir"])
        return Trained(asked, directory, result, tuple(read_events(directory / "events.jsonl")))

    def asked(
        self, algorithm: str, needed: Mapping[str, Any], welcome: Mapping[str, Any], place: str
    ) -> dict[str, Any]:
        """Parameters of a run: without those welcome ones that the backend refuses.

        Raises:
            NotPossibleError: It refuses two processes.
        """
        subject = self.subject
        others = {**_ALWAYS, **needed, **WELCOME, **welcome} if needed else {}
        values = {
            "model_path": str(self.toy.model),
            "data_path": str(self.rows_of(algorithm)),
            "ckpt_output_dir": str(self.directory / place),
            **others,
        }
        declared = subject.declared(algorithm)
        values = {name: value for name, value in values.items() if name in declared}
        values |= subject.needed(algorithm) | (dict(subject.parameters.get(algorithm, {})) if needed else {})
        if not issubclass(subject.kind(), FrameworkBackend):
            return values
        if "nproc_per_node" in needed and "nproc_per_node" not in declared:
            raise NotPossibleError(f"{algorithm} does not take nproc_per_node")
        if "nproc_per_node" in needed and (reason := subject.refusal(algorithm, values, "nproc_per_node")):
            raise NotPossibleError(f"{subject.backend} cannot train with two processes here: {reason}")
        for name in (*WELCOME, *welcome):
            if name in values and subject.refusal(algorithm, values, name):
                del values[name]
        return values

    def rows_of(self, algorithm: str) -> Path:
        """The rows of an algorithm: the kit's conversations, or the author's own."""
        own = self.subject.rows(algorithm)
        if own is None:
            return self.toy.rows
        path = self.directory / f"{algorithm}.jsonl"
        if not path.exists():
            rows = [dict(row) for row in own]
            assert len(rows) == ROWS, f"rows({algorithm!r}) gives {len(rows)} rows; expected {ROWS}"
            write_rows(path, rows)
        return path

    def train(self, algorithm: str, asked: Mapping[str, Any]) -> Any:
        """Train by the public API."""
        from training_hub import create_algorithm

        return create_algorithm(algorithm, self.subject.backend).train(**asked)


def left_in(*directories: Path) -> dict[str, str]:
    """Everything that lies in directories: path to a digest of its content, to see what has changed."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for directory in directories
        for path in sorted(directory.rglob("*"))
    }
