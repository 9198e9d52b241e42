"""Starts the processes of a run where a launcher has started the script itself in several: each of them starts its own.

So each has the devices, the processors and the memory that the launcher has given to its process. The processes that
train meet at a port of their own; of the launcher's variables they see none but their ranks.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from training_hub.launchers.alone import alone
from training_hub.launchers.local import EndedElsewhereError, ends_file, execute
from training_hub.launchers.meeting import POLL, Meeting, RankGoneError, free_port
from training_hub.launchers.plan import LaunchPlan
from training_hub.launchers.ranks import Ranks
from training_hub.store.control import Control
from training_hub.store.lock import CALLER
from training_hub.store.process_ends import ProcessEnd, write_ends

LOOK_SECONDS = 1.0
"""Between two looks at what the other processes tell."""
OTHERS_SECONDS = 8.0
"""How long a failure waits for those of the other processes, one of which may be its cause."""


class JoinedLauncher:
    """For the process that conducts a run on its node: it tells the others what to start, and starts its own."""

    def __init__(self, meeting: Meeting, control: Control) -> None:
        """Args:
        meeting: With the other processes of the script.
        control: Of the run; asked to stop where another process was.
        """
        self.meeting = meeting
        self.control = control

    def __call__(
        self, plan: LaunchPlan, arguments: Sequence[str], logs: Path, check: Callable[[], None] | None = None
    ) -> None:
        """As `launchers.local.launch`, by one process of each of the script's."""
        meeting, ranks = self.meeting, self.meeting.ranks
        if ranks.rank == 0:
            meeting.tell("port", free_port())
        while (port := meeting.told("port")) is None:
            meeting.check_alive([0])
            time.sleep(POLL)
        log = (logs / "processes.log").absolute()
        work = {
            "command": [plan.interpreter, "-m", plan.module, *map(os.path.abspath, arguments)],
            "environment": {**plan.environment, CALLER: str(os.getpid())},
            "log": str(log),
            "port": port,
        }
        meeting.tell(f"work/{ranks.node_rank}", work)
        looks = _Looks(meeting, range(ranks.world_size) if ranks.rank == 0 else [0], self.control.stop)

        def look() -> None:
            if check:
                check()
            if self.control.stop_asked:
                looks.ask(self.control.stop_asked)
            looks()

        start(work, meeting, look, lambda code: self._gather_ends(log))

    def _gather_ends(self, log: Path) -> None:
        """Wait a while for the ends of the others, and write all down as torchrun does."""
        meeting, size = self.meeting, self.meeting.ranks.world_size
        until = time.monotonic() + OTHERS_SECONDS
        found: dict[int, ProcessEnd] = {}
        while len(found) < size and time.monotonic() < until:
            for rank in range(size):
                if rank not in found and (told := meeting.told(f"end/{rank}")):
                    found[rank] = ProcessEnd(**told)
            time.sleep(POLL)
        write_ends(ends_file(log), sorted(found.values(), key=lambda end: end.time))


class _Looks:
    """Looks, now and then, whether another process has failed, is gone, or was asked to stop."""

    def __init__(self, meeting: Meeting, others: Sequence[int] | range, stop: Callable[[str], None]) -> None:
        self._meeting = meeting
        self._others = others
        self._stop = stop
        self._next = 0.0
        self._failed_at: float | None = None
        self._asked = False

    def ask(self, reason: str) -> None:
        """Pass on, once, that the run is to stop."""
        if not self._asked:
            self._asked = True
            self._meeting.tell("stop", reason)

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_SECONDS
        self._meeting.check_alive(self._others)
        if not self._asked and (reason := self._meeting.told("stop")):
            self._asked = True
            self._stop(reason)
        if self._failed_at is None and self._meeting.told("failed"):
            self._failed_at = now
        if self._failed_at is not None and now - self._failed_at > OTHERS_SECONDS / 2:
            raise EndedElsewhereError


def start(work: Mapping[str, Any], meeting: Meeting, check: Callable[[], None], failed: Callable[[int], None]) -> None:
    """Start this process' own process of the run, and wait for its end.

    Args:
        work: What the process that conducts has told of it.
        meeting: With the others, who are told how it ended where it failed.
        check: Called several times a second.
        failed: Called with its exit code where it failed, once the others know.

    Raises:
        TrainingHubError: It failed.
    """
    ranks = meeting.ranks

    def tell(code: int) -> None:
        end = {"rank": ranks.rank, "local_rank": ranks.local_rank, "exit_code": code, "time": time.time()}
        # Where the store is gone, so are the others.
        with suppress(RankGoneError):
            meeting.tell(f"end/{ranks.rank}", end)
            meeting.tell("failed", ranks.rank)
            failed(code)

    [interpreter, *rest] = work["command"]
    environment = {**alone(os.environ), **work["environment"], **variables(ranks, work["port"])}
    execute([interpreter or sys.executable, *rest], environment, Path(work["log"]), check, tell)


def variables(ranks: Ranks, port: int) -> dict[str, str]:
    """What torchrun would set, for processes that meet at another port than their launcher's."""
    return {
        "TORCHELASTIC_RUN_ID": "training-hub",
        "RANK": str(ranks.rank),
        "WORLD_SIZE": str(ranks.world_size),
        "LOCAL_RANK": str(ranks.local_rank),
        "LOCAL_WORLD_SIZE": str(ranks.local_world_size),
        "GROUP_RANK": str(ranks.node_rank),
        "GROUP_WORLD_SIZE": str(ranks.nodes),
        "MASTER_ADDR": ranks.address,
        "MASTER_PORT": str(port),
    }
