"""Training from the command line."""

from __future__ import annotations

import sys
from typing import Any

import typer

from training_hub.cli.given import Given
from training_hub.cli.style import styled
from training_hub.execution.session import execute
from training_hub.plugins.selection import create_algorithm
from training_hub.reading.log_lines import visible
from training_hub.store.result import TrainingResult


def train(given: Given) -> None:
    """Train, and say where the result is.

    Raises:
        UserError: Something in the request is wrong; nothing was started.
        TrainingFailedError: Training started and did not finish.
    """
    with visible():
        algorithm = create_algorithm(given.algorithm, given.backend)
        parameters = algorithm.resolve(given.values, given.origin, type(algorithm.backend))
        result = execute(algorithm.backend, parameters)
    typer.echo(_summary(result))


def _summary(result: Any) -> str:
    done = styled("done", sys.stdout, "green")
    if not isinstance(result, TrainingResult):
        return done
    loss, step = result.metrics.get("loss"), result.metrics.get("step")
    figures = [f"{step} steps" if step is not None else "", f"loss {loss:.4f}" if isinstance(loss, float) else ""]
    lines = [f"{done}: {', '.join(filter(None, figures)) or result.backend}"]
    lines += [f"model: {result.checkpoint}"] if result.checkpoint else []
    lines += [f"merged model: {result.merged_checkpoint}"] if result.merged_checkpoint else []
    return "\n".join([*lines, f"run: {result.run_dir}"])
