"""A call of a script that a launcher has started in several processes: the first of a node conducts, the others join.

The one that conducts carries the run through as if it were alone there. The others start their own process of it, as
they are told, and give their caller what came of the run, as the first one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from training_hub import errors
from training_hub.errors import ParameterError, TrainingFailedError, TrainingHubError
from training_hub.execution.signals import SignalHandler, Terminated
from training_hub.launchers.joined import LOOK_SECONDS, start
from training_hub.launchers.local import EndedElsewhereError
from training_hub.launchers.meeting import POLL, Meeting, RankGoneError
from training_hub.launchers.ranks import Ranks
from training_hub.parameters.resolution import Parameters
from training_hub.store.result import TrainingResult

LAST_SECONDS = 10.0
"""How long the first process stays for others to hear of the end."""


def placed(parameters: Parameters, ranks: Ranks) -> Parameters:
    """The parameters with the processes that the launcher has started, whatever variables say of others.

    Raises:
        ParameterError: The call asks for other processes.
    """
    started = {"nproc_per_node": ranks.local_world_size, "nnodes": ranks.nodes, "node_rank": ranks.node_rank}
    for name, value in started.items():
        asked = parameters.get(name)
        if parameters.chosen(name) and not isinstance(asked, str) and asked != value:
            raise ParameterError(
                f"{name}={asked}{parameters.source(name)}: {ranks.launcher} has started this script with {name}={value}"
                f"; leave it out, or start the script once with python"
            )
    where = {"rdzv_id": None, "rdzv_endpoint": None, "master_addr": ranks.address, "master_port": ranks.port}
    found: dict[str, Any] = {name: value for name, value in {**started, **where}.items() if name in parameters}
    origin = dict.fromkeys(found, f"environment of {ranks.launcher}")
    return replace(parameters, resolved={**parameters.resolved, **found}, origin={**parameters.origin, **origin})


def conduct(meeting: Meeting, algorithm: str, run: Callable[[], TrainingResult]) -> TrainingResult:
    """Carry a run through, by `run`, and tell the others of its end.

    Raises:
        RankGoneError: Another process has ended, or does not come.
    """
    try:
        meeting.tell(f"algorithm/{meeting.ranks.node_rank}", algorithm)
        meeting.gather()
        result = run()
    except Terminated as ended:
        _tell_end(meeting, {"result": _told(ended.result), "terminated": True})
        raise
    except BaseException as error:
        _tell_end(meeting, {"error": type(error).__name__, "message": str(error)})
        raise
    _tell_end(meeting, {"result": _told(result)})
    return result


def _told(result: TrainingResult) -> dict[str, Any]:
    """What of a result is no live object."""
    names = ("checkpoint", "merged_checkpoint", "metrics", "backend", "run_dir", "state")
    return {name: result[name] for name in names}


def _tell_end(meeting: Meeting, end: dict[str, Any]) -> None:
    """Tell the others of the end; rank 0, which may keep the store, stays until they have heard of it."""
    ranks = meeting.ranks
    with suppress(RankGoneError):
        meeting.tell(f"end_of_run/{ranks.node_rank}", end)
        until = time.monotonic() + LAST_SECONDS
        while ranks.rank == 0 and not ranks.hosted and time.monotonic() < until:
            if all(meeting.told(f"heard/{rank}") for rank in range(1, ranks.world_size)):
                break
            time.sleep(POLL)
        meeting.tell(f"heard/{ranks.rank}", True)


def join(meeting: Meeting, algorithm: str) -> TrainingResult:
    """Take part in the run that the first process of this node conducts.

    Returns:
        What that process returns, without what lives in it.

    Raises:
        TrainingHubError: As that process raises it; or it has ended.
        SystemExit: SIGTERM came; the run was stopped with a checkpoint.
    """
    joining = _Joining(meeting)
    # Until there is a run, a signal ends this process as it ends any.
    meeting.gather()
    joining.check_calls(algorithm)
    while (work := joining.work()) is None and joining.end() is None:
        joining.look()
        time.sleep(POLL)
    with SignalHandler(joining, can_stop=True):
        if work:
            # Why it fails, the process that conducts finds out for all.
            with suppress(TrainingHubError):
                start(work, meeting, joining.look_after_run, lambda code: None)
        while (end := joining.end()) is None:
            joining.look()
            time.sleep(POLL)
    with suppress(RankGoneError):
        meeting.tell(f"heard/{meeting.ranks.rank}", True)
    return _returned(end, joining.conductor)


class _Joining:
    """What a process that joins sees of the others, and asks of them."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        ranks = meeting.ranks
        self.conductor = ranks.rank - ranks.local_rank
        self._node = ranks.node_rank
        self._next = 0.0

    def stop(self, reason: str) -> None:
        """As of `Control`: the whole run is asked."""
        self.meeting.tell("stop", reason)

    def check_calls(self, algorithm: str) -> None:
        """Find out whether this process calls what the others do.

        Raises:
            ParameterError: It does not.
        """
        theirs = self.meeting.told(f"algorithm/{self._node}")
        if theirs != algorithm:
            raise ParameterError(
                f"rank {self.meeting.ranks.rank} calls {algorithm}, and rank {self.conductor} {theirs}: every process "
                f"of the script has to make the same calls"
            )

    def work(self) -> dict[str, Any] | None:
        """What to start; None where nothing was told yet."""
        found: dict[str, Any] | None = self.meeting.told(f"work/{self._node}")
        return found

    def end(self) -> dict[str, Any] | None:
        """How the run ended; None while it goes on."""
        found: dict[str, Any] | None = self.meeting.told(f"end_of_run/{self._node}")
        return found

    def look(self) -> bool:
        """Look, now and then, whether those that it waits for still live; whether it was time to.

        Raises:
            RankGoneError: They do not.
        """
        if (now := time.monotonic()) < self._next:
            return False
        self._next = now + LOOK_SECONDS
        self.meeting.check_alive({0, self.conductor})
        return True

    def look_after_run(self) -> None:
        """The same while its own process of the run works, which ends where the run has.

        Raises:
            EndedElsewhereError: It has, by a failure.
        """
        if self.look() and "error" in (self.end() or {}):
            raise EndedElsewhereError


def _returned(end: dict[str, Any], conductor: int) -> TrainingResult:
    if "error" in end:
        kind = getattr(errors, end["error"], TrainingFailedError)
        raise kind(f"rank {conductor}: {end['message'] or end['error']}")
    told = end["result"]
    paths = {name: Path(told[name]) if told[name] else None for name in ("checkpoint", "merged_checkpoint")}
    result = TrainingResult(
        **paths, metrics=told["metrics"], backend=told["backend"], run_dir=Path(told["run_dir"]), state=told["state"]
    )
    if "terminated" in end:
        raise Terminated(result)
    return result
