"""Kills one process of a run when its first step is reported, and sees to it that nobody waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import TracebackType

from training_hub.store.events import Event, Follower


class Killer:
    """While the block runs: watch the events, kill the rank at the first step, all others once patience is out."""

    def __init__(self, events: Path, *, rank: int, patience: float) -> None:
        self.rank = rank
        self.patience = patience
        self.killed_at: float | None = None
        self.gave_up = False
        self._follower = Follower(events, self._receive)
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._wait, name="training-hub-killer", daemon=True)
        self._began = threading.Event()

    def __enter__(self) -> Killer:
        self._follower.__enter__()
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._began.set()
        self._watch.join()
        self._follower.__exit__(kind, error, trace)

    def _receive(self, event: Event) -> None:
        if event["event"] != "step" or self.killed_at is not None:
            return
        for process in ranks(self.rank):
            self.killed_at = time.monotonic()
            os.kill(process, signal.SIGKILL)
            self._began.set()

    def _wait(self) -> None:
        self._began.wait()
        if self.killed_at is not None and not self._ended.wait(self.patience):
            self.gave_up = True
            for process in self.alive():
                os.kill(process, signal.SIGKILL)

    def alive(self) -> list[int]:
        """Processes of the run that have not ended."""
        return ranks()


def ranks(rank: int | None = None) -> list[int]:
    """Processes under this one that torchrun, or another launcher, gave a rank: all, or those of one rank.

    Of a rank's own children, such as those that load data, none is meant.
    """
    found: dict[int, tuple[int, str]] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            variables = dict(part.partition("=")[::2] for part in (entry / "environ").read_text().split("\0"))
        except (OSError, UnicodeDecodeError):
            continue
        # A zombie has ended, and waits only to be told of.
        if state == "Z":
            continue
        parents[int(entry.name)] = int(parent)
        if variables.get("RANK"):
            found[int(entry.name)] = (int(parent), variables["RANK"])
    return [
        process
        for process, (parent, of_rank) in found.items()
        if parent not in found and _is_under(process, parents) and rank in (None, int(of_rank))
    ]


def _is_under(process: int, parents: dict[int, int]) -> bool:
    here = os.getpid()
    while process in parents:
        process = parents[process]
        if process == here:
            return True
    return False
