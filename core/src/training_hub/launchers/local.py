"""Starts the processes of a run on this machine, and says what happened when they fail."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training_hub import errors
from training_hub.errors import TrainingFailedError, TrainingHubError, UserError
from training_hub.launchers.failures import advice, killed, meaning
from training_hub.launchers.plan import LaunchPlan

GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Farewell:
    """How processes are told to save and end, where they can."""

    ask: Callable[[], None]
    seconds: float
    """How long they may take for it, before they are ended."""


def launch(plan: LaunchPlan, arguments: Sequence[str], logs: Path, farewell: Farewell | None = None) -> None:
    """Start the processes, wait until they have ended.

    Args:
        plan: The processes.
        arguments: Arguments of the plan's module.
        logs: Directory for what the processes print, `processes.log`, and for their errors.
        farewell: What to do first when this process is interrupted; by default they are ended at once.

    Raises:
        TrainingFailedError: A process failed; the message has its rank, its error and the log's path.
    """
    _run(plan, plan.argv(*arguments), logs / "processes.log", farewell)


def run_first(plan: LaunchPlan, module: str, arguments: Sequence[str], logs: Path) -> None:
    """Run a module in one process, with the interpreter and environment of the plan's, before these are started.

    Raises:
        UserError: As the process recorded it.
        TrainingFailedError: It failed otherwise.
    """
    _run(plan, ["-m", module, *arguments], logs / f"{module.rpartition('.')[2]}.log")


def _run(plan: LaunchPlan, argv: Sequence[str], log: Path, farewell: Farewell | None = None) -> None:
    command = [plan.interpreter or sys.executable, *argv]
    environment = {**os.environ, **plan.environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            code = process.wait()
        except BaseException:
            try:
                if farewell is not None:
                    farewell.ask()
                    process.wait(farewell.seconds)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _stop(process)
            raise
    if code != 0:
        raise _cause(code, log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: first by asking, then by force."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _cause(code: int, log: Path) -> TrainingHubError:
    printed = log.read_text(encoding="utf-8", errors="replace")
    # A rank that a signal ended leaves no record; what the others recorded is only that it was gone.
    if found := killed(printed):
        rank, ended_by = found
        return TrainingFailedError(f"rank {rank} was ended by {ended_by.name}: {meaning(ended_by)}\nlog: {log}")
    recorded = [json.loads(path.read_text(encoding="utf-8")) for path in log.parent.glob("rank-*.error.json")]
    if recorded:
        first = min(recorded, key=lambda error: float(error["time"]))
        # A mistake of the user's stays one, though it was found in a worker.
        kind = getattr(errors, first["type"], None)
        if isinstance(kind, type) and issubclass(kind, UserError):
            return kind(first["message"])
        said = f"rank {first['rank']} failed: {first['type']}: {first['message']}"
        return TrainingFailedError(said + _advice(first["type"], first["message"]) + f"\nlog: {log}")
    last = "\n".join(printed.splitlines()[-20:])
    ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    said = f"the processes ended {ended} and left no error"
    return TrainingFailedError(f"{said}{_advice('', last)}; the last lines of {log}:\n{last}")


def _advice(kind: str, message: str) -> str:
    line = advice(kind, message)
    return f"\nwhat to do: {line}" if line else ""


@contextlib.contextmanager
def recorded_failure(logs: Path) -> Iterator[None]:
    """In a worker: leave the error that ends the block where `launch` finds it."""
    try:
        yield
    except BaseException as error:
        rank = os.environ.get("RANK", "0")
        record = {
            "rank": int(rank),
            "time": time.time(),
            "type": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
        }
        (logs / f"rank-{rank}.error.json").write_text(json.dumps(record), encoding="utf-8")
        raise
