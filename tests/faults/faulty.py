"""A run in a process of its own: it is watched, struck, gone on with, and held against one that nothing happened to."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cells import Cell
from safetensors.torch import load_file

from training_hub.store.checkpoints import complete, newest
from training_hub.store.events import Event, Tail, live_events, read_events

TRAIN = Path(__file__).with_name("train.py")
PATIENCE = 300
"""Seconds after which a run is taken to hang."""
SAME = 1e-6
"""Largest difference of a loss or a weight that counts as none."""


class Started:
    """A run under way."""

    def __init__(self, cell: Cell, asked: dict[str, Any], place: Path, *, spoil: bool = False) -> None:
        """Args:
        cell: What it is.
        asked: Parameters besides those of the cell.
        place: Where what it prints goes, outside its own directory.
        spoil: Whether its losses are to become NaN after the first checkpoint.
        """
        number = len(list(place.glob("job-*.json")))
        job = place / f"job-{number}.json"
        values = cell.parameters() | {"resume": True} | asked
        job.write_text(json.dumps({"algorithm": cell.algorithm, "asked": values, "spoil": spoil}, default=str))
        self.found = Found(Path(values["ckpt_output_dir"]))
        self.log = place / f"job-{number}.log"
        self._events = Tail(self.found.stream, last=0)
        self._events.replaced()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with self.log.open("wb") as log:
            self.began = time.time()
            self.process = subprocess.Popen(
                [sys.executable, str(TRAIN), str(job)], env=environment, stdout=log, stderr=log
            )

    def status(self) -> int:
        """The exit status, once it is there."""
        if not self.ends_within(PATIENCE):
            self.kill()
            raise AssertionError(f"the run did not end within {PATIENCE} s; it printed {self.printed()}")
        return self.process.returncode

    def ends_well(self) -> None:
        assert self.status() == 0, f"the run did not go on to its end; it printed\n{self.printed()}"

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_for(self, happened: Callable[[], bool]) -> bool:
        """Look again and again, until it is so; False where the run ended before."""
        deadline = time.monotonic() + PATIENCE
        while not (ended := self.ends_within(0.001)) and not happened():
            assert time.monotonic() < deadline, f"nothing within {PATIENCE} s; it printed {self.printed()}"
        return not ended or happened()

    def has_told(self, kind: str, **fields: Any) -> bool:
        """Whether this run, and not one before it in its directory, has told of such an event since last asked."""
        # A run that begins anew puts its own stream in the place of the older one.
        self._events.replaced()
        wanted = {"event": kind, **fields}
        return any(wanted.items() <= event.items() for event in self._events.new())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def printed(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@dataclass(frozen=True)
class Found:
    """What lies in a run's directory."""

    out: Path

    @property
    def stream(self) -> Path:
        return self.out / "events.jsonl"

    @property
    def events(self) -> list[Event]:
        return live_events(read_events(self.stream))

    def of_kind(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def steps(self) -> list[int]:
        return [event["step"] for event in self.of_kind("step")]

    @property
    def losses(self) -> list[float]:
        return [event["loss"] for event in self.of_kind("step")]

    @property
    def checkpoint(self) -> int:
        """The step of the newest complete checkpoint; 0 where there is none."""
        found = newest(self.out, resumable=True)
        return found.step if found else 0

    @property
    def announced(self) -> int:
        """The newest checkpoint that the events tell of; 0 where there is none."""
        saved = [event["step"] for event in self.of_kind("save") if Path(event["checkpoint"]).name != "final"]
        return max(saved, default=0)

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is half-written: in its place, or where a framework writes before it is moved there."""
        first = [*self.out.glob("logs/*/hf_format/*"), *self.out.glob("logs/*/full_state/epoch_[0-9]*")]
        return bool(first) or any(complete(path) is None for path in self.out.glob("checkpoint-*"))

    @property
    def manifest(self) -> dict[str, Any]:
        path = self.out / "run.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def whole_lines(self) -> bytes:
        """The stream, without a line that was cut off."""
        content = self.stream.read_bytes() if self.stream.exists() else b""
        return content[: content.rfind(b"\n") + 1]

    @property
    def weights(self) -> dict[str, Any]:
        [path] = (self.out / "final").glob("*model.safetensors")
        return load_file(path)

    @property
    def left_over(self) -> list[int]:
        """Processes that still work for the run: torchrun and its workers have the directory on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str(self.out).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@dataclass
class Fault:
    """One thing that was done to a run, and what came of it."""

    kind: str
    moment: str
    """When it struck, in words."""
    told: int
    """The last step that the run had told of."""
    checkpoint: int
    """The newest complete checkpoint."""
    saving: bool
    """Whether another one was half-written."""
    whole_lines: bytes = field(repr=False)
    """What the run had told."""
    resumed_from: int | None = None
    loss_difference: float | None = None
    weight_difference: float | None = None
    lost: list[str] = field(default_factory=list)

    @classmethod
    def struck(cls, kind: str, moment: str, found: Found) -> Fault:
        """Note what a fault has left."""
        told = max(found.steps, default=0)
        fault = cls(kind, moment, told, found.checkpoint, found.saving, found.whole_lines)
        if fault.checkpoint < found.announced:
            fault.lost.append(f"the checkpoint of step {found.announced}")
        return fault

    @property
    def repeated(self) -> int | None:
        """Steps that had to be done again."""
        return None if self.resumed_from is None else max(0, self.told - self.resumed_from)

    def compare(self, found: Found, steady: Found) -> None:
        """Note what the run, now at its end, has lost; its directory is as it is then."""
        self._went_on(found)
        try:
            self.loss_difference, self.weight_difference = differences(found, steady)
        except AssertionError as error:
            self.lost.append(str(error).splitlines()[0])
            return
        if self.loss_difference > SAME:
            self.lost.append("the losses")
        if self.weight_difference > SAME:
            self.lost.append("the trained weights")

    def _went_on(self, found: Found) -> None:
        content = found.stream.read_bytes()
        # Where there was no checkpoint yet, the run began anew, and so did its stream.
        if self.checkpoint and not content.startswith(self.whole_lines):
            self.lost.append("events")
            return
        lines = content[len(self.whole_lines) :] if self.checkpoint else content
        starts = [json.loads(line) for line in lines.splitlines() if line.startswith(b'{"event": "start"')]
        if starts:
            self.resumed_from = starts[0]["resumed_from"] or 0
            if self.resumed_from < self.checkpoint:
                self.lost.append(f"the checkpoint of step {self.checkpoint}")


@dataclass(frozen=True)
class Steady:
    """A run that nothing happened to, and how long its parts took."""

    found: Found
    start_up: float
    """Seconds from the call to the event `start`."""
    training: float
    """Seconds from there to the end."""

    def strike(self, run: Started, part: str, chance: random.Random) -> Fault | None:
        """Kill a run at a random moment of its start-up, its training, a save, or the end; None where it ended before."""
        found = run.found
        if part == "start-up":
            delay = chance.uniform(0, self.start_up)
            moment = f"{delay:.2f} s after the call"
        elif part == "save":
            if not run.wait_for(lambda: found.saving):
                return None
            delay = chance.uniform(0, 0.05)
            moment = f"{delay:.3f} s after a save began"
        elif part == "end":
            if not run.wait_for((found.out / "final").exists):
                return None
            delay = chance.uniform(0, 0.02)
            moment = f"{delay:.3f} s after the trained model began to be saved"
        else:
            if not run.wait_for(lambda: run.has_told("start")):
                return None
            rest = 1 - (found.of_kind("start")[-1]["resumed_from"] or 0) / len(self.found.steps)
            delay = chance.uniform(0, self.training * max(rest, 0.1))
            moment = f"{delay:.3f} s after training began"
        if run.ends_within(delay):
            return None
        run.kill()
        return Fault.struck("SIGKILL", moment, found)


def undisturbed(cell: Cell, asked: dict[str, Any], place: Path) -> Steady:
    """Carry out a run to its end."""
    run = Started(cell, asked, place)
    run.ends_well()
    [start], [end] = run.found.of_kind("start"), run.found.of_kind("end")
    return Steady(run.found, start["time"] - run.began, end["time"] - start["time"])


def differences(one: Found, other: Found) -> tuple[float, float]:
    """The largest difference of a step's loss, and of a weight, between a run and one that nothing happened to.

    Raises:
        AssertionError: The first lacks a step, an epoch, a checkpoint, its end or a file of the model.
    """
    for found in (one, other):
        assert found.manifest.get("state") == "completed", "the end"
    assert one.steps == other.steps, "steps"
    for kind, name in (("epoch", "epoch"), ("save", "step")):
        ours, wanted = ({event[name] for event in found.of_kind(kind)} for found in (one, other))
        # A run that was asked to stop has saved once more.
        assert ours >= wanted, f"events {kind!r}"
    files = [{path.name for path in (found.out / "final").iterdir()} for found in (one, other)]
    assert files[0] == files[1], "files of the trained model"
    losses = max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))
    ours, theirs = one.weights, other.weights
    assert ours.keys() == theirs.keys(), "weights"
    apart = max((ours[name].double() - theirs[name].double()).abs().max().item() for name in ours)
    return losses, apart
