"""Training from the command line."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import typer

from training_hub.cli.exit_codes import INTERRUPTED, RunStopped
from training_hub.cli.given import Given
from training_hub.cli.style import styled
from training_hub.execution.session import execute
from training_hub.execution.signals import Terminated
from training_hub.launchers.ranks import speaks
from training_hub.plugins.selection import create_algorithm
from training_hub.reading.log_lines import visible
from training_hub.store.checkpoints import newest
from training_hub.store.result import TrainingResult


def train(given: Given) -> None:
    """Train, and say where the result is, or how a run that was stopped goes on.

    Raises:
        UserError: Something in the request is wrong; nothing was started.
        TrainingFailedError: Training started and did not finish.
        RunStopped: It was stopped before its end; the exit code tells that it is not done.
    """
    code = INTERRUPTED
    with visible():
        algorithm = create_algorithm(given.algorithm, given.backend)
        parameters = algorithm.resolve(given.values, given.origin, type(algorithm.backend))
        try:
            result = execute(algorithm.backend, parameters)
        except Terminated as end:
            result, code = end.result, int(end.code or INTERRUPTED)
    stopped = isinstance(result, TrainingResult) and result.state == "stopped"
    if speaks(os.environ):
        typer.echo(_stopped(result) if stopped else _done(result))
    if stopped:
        raise RunStopped(code)


def _done(result: Any) -> str:
    done = styled("done", sys.stdout, "green")
    if not isinstance(result, TrainingResult):
        return done
    loss, step = result.metrics.get("loss"), result.metrics.get("step")
    figures = [f"{step} steps" if step is not None else "", f"loss {loss:.4f}" if isinstance(loss, float) else ""]
    lines = [f"{done}: {', '.join(filter(None, figures)) or result.backend}"]
    lines += [f"model: {result.checkpoint}"] if result.checkpoint else []
    lines += [f"merged model: {result.merged_checkpoint}"] if result.merged_checkpoint else []
    return "\n".join([*lines, f"run: {result.run_dir}"])


def _stopped(result: TrainingResult) -> str:
    step, most = (result.metrics.get(name) for name in ("step", "max_steps"))
    at = f" at step {step}{f' of {most}' if most else ''}" if step is not None else " before its first step"
    lines = [f"{styled('stopped', sys.stdout, 'yellow')}{at}"]
    saved = newest(result.run_dir, resumable=True)
    lines += [f"checkpoint: {saved.path}"] if saved else []
    again = "to go on" if saved else "nothing is saved to go on from; to start again"
    return "\n".join(
        [*lines, f"run: {result.run_dir}", f"{again}: training-hub resume {shlex.quote(str(result.run_dir))}"]
    )
