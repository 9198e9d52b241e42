"""Starts the processes of a run on this machine, and says what happened when they fail."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training_hub import errors
from training_hub.errors import TrainingFailedError, TrainingHubError, UserError
from training_hub.launchers.alone import alone
from training_hub.launchers.failures import advice, killed, known_line, meaning
from training_hub.launchers.plan import LaunchPlan
from training_hub.store.lock import CALLER
from training_hub.store.process_ends import FILE, VARIABLE, read_ends

GRACE_SECONDS = 30.0
CHECK_SECONDS = 0.25


class WorkerError(Exception):
    """What a process printed as it failed: the cause of the error that is raised in the caller's process."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class EndedElsewhereError(Exception):
    """A process of the run that was started elsewhere has failed."""


class ImportFailedError(TrainingFailedError):
    """A process failed as it imported something."""


def launch(plan: LaunchPlan, arguments: Sequence[str], logs: Path, check: Callable[[], None] | None = None) -> None:
    """Start the processes, wait until they have ended.

    Args:
        plan: The processes.
        arguments: Arguments of the plan's module.
        logs: Directory for what the processes print, `processes.log`, and for their errors.
        check: Called several times a second; a TimeoutError of it ends the processes.

    Raises:
        TrainingFailedError: A process failed; the message has its rank, its error and the log's path.
    """
    _run(plan, plan.argv(*arguments), logs / "processes.log", check)


def run_first(plan: LaunchPlan, module: str, arguments: Sequence[str], logs: Path) -> None:
    """Run a module in one process, with the interpreter and environment of the plan's, before these are started.

    Raises:
        UserError: As the process recorded it.
        TrainingFailedError: It failed otherwise.
    """
    _run(plan, ["-m", module, *arguments], logs / f"{module.rpartition('.')[2]}.log")


_FIND = """
import sys
from importlib.util import find_spec

for name in sys.argv[1:]:
    try:
        found = find_spec(name) is not None
        reason = "" if found else "there is no such module"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    print(reason.replace("\\n", " "))
"""


def not_found(plan: LaunchPlan, modules: Sequence[str]) -> dict[str, str]:
    """Modules that the processes of a plan would not find, each with the reason; none of them is run.

    Of a module in a package the package is imported.
    """
    # As with `-m`, the working directory is on the path.
    command = [plan.interpreter or sys.executable, "-c", _FIND, *modules]
    ended = subprocess.run(command, env=_environment(plan), capture_output=True, text=True, check=False)
    reasons = ended.stdout.split("\n")[-len(modules) - 1 : -1]
    if ended.returncode or len(reasons) < len(modules):
        raise TrainingFailedError(f"{command[0]} cannot be started: {ended.stderr.strip()}")
    return {module: reason for module, reason in zip(modules, reasons, strict=True) if reason}


def _environment(plan: LaunchPlan) -> dict[str, str]:
    # torchrun, too, is none of several: it tells the processes that it starts which they are.
    return {**alone(os.environ), **plan.environment, CALLER: str(os.getpid())}


def ends_file(log: Path) -> Path:
    """Where whoever starts the processes leaves how they ended."""
    return log.absolute().with_name(FILE)


def _run(plan: LaunchPlan, argv: Sequence[str], log: Path, check: Callable[[], None] | None = None) -> None:
    environment = _environment(plan) | {VARIABLE: str(ends_file(log))}
    execute([plan.interpreter or sys.executable, *argv], environment, log, check)


def execute(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    check: Callable[[], None] | None = None,
    failed: Callable[[int], None] = lambda code: None,
) -> None:
    """Start a process in a session of its own, and wait until it has ended; it does not outlive the call.

    Args:
        command: The program and its arguments.
        environment: All its variables.
        log: Takes what it prints, behind what is there.
        check: Called several times a second; an error of it ends the process. A `TimeoutError` says why the run has
            failed, an `EndedElsewhereError` that the cause is to be looked for in what the processes left behind.
        failed: Called with the exit code of a process that failed, before the cause is looked for.

    Raises:
        TrainingHubError: It failed.
    """
    # A resumed run goes on in the log of the one before.
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            code = _wait(process, check or (lambda: None))
        except TimeoutError as error:
            raise TrainingFailedError(f"{error}\nlog: {log}") from error
        except EndedElsewhereError:
            _stop(process)
            code = process.returncode or -signal.SIGTERM
        finally:
            _stop(process)
    if code != 0:
        failed(code)
        raise _cause(code, log, before)


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            check()


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


def _cause(code: int, log: Path, start: int = 0) -> TrainingHubError:
    # A rank that a signal ended leaves no record; what the others recorded is only that it was gone.
    if found := killed(read_ends(ends_file(log))):
        rank, ended_by = found
        return TrainingFailedError(f"rank {rank} was ended by {ended_by.name}: {meaning(ended_by)}\nlog: {log}")
    recorded = [json.loads(path.read_text(encoding="utf-8")) for path in log.parent.glob("rank-*.error.json")]
    if recorded:
        first = min(recorded, key=lambda error: float(error["time"]))
        raised = _recorded(first, log)
        raised.__cause__ = WorkerError(first["traceback"])
        return raised
    lines = log.read_bytes()[start:].decode("utf-8", errors="replace").splitlines()
    last = "\n".join(lines[-20:])
    ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    if known := known_line(last):
        said = f"the processes ended {ended}: {known}{_advice('', known)}\nlog: {log}"
    else:
        said = f"the processes ended {ended} and left no error; the last lines of {log}:\n{last}"
    failed = TrainingFailedError(said)
    failed.__cause__ = WorkerError("\n".join(lines[-200:]))
    return failed


def _recorded(first: Mapping[str, Any], log: Path) -> TrainingHubError:
    # A mistake of the user's stays one, though it was found in a worker.
    kind = getattr(errors, first["type"], None)
    if isinstance(kind, type) and issubclass(kind, UserError):
        return kind(first["message"])
    if isinstance(kind, type) and issubclass(kind, TrainingFailedError):
        return kind(f"{first['message']}\nlog: {log}")
    if importing := first["import"]:
        said = f"rank {first['rank']} failed: {importing}"
        return ImportFailedError(f"{said}{_advice('', importing)}\nlog: {log}")
    said = f"rank {first['rank']} failed: {first['type']}: {first['message']}"
    return TrainingFailedError(said + _advice(first["type"], first["message"]) + f"\nlog: {log}")


def _advice(kind: str, message: str) -> str:
    line = advice(kind, message)
    return f"\nwhat to do: {line}" if line else ""
