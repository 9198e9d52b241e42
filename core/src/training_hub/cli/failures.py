"""How errors end the command: what is printed, and the exit code."""

from __future__ import annotations

import sys
import traceback

import typer

from training_hub.cli.exit_codes import FAILED, INTERRUPTED, MISTAKE
from training_hub.cli.style import styled
from training_hub.errors import TrainingHubError, UserError


def report(error: BaseException, *, debug: bool) -> int:
    """Print an error to stderr, with its traceback when debugging, and return the exit code."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, KeyboardInterrupt):
        typer.echo(styled("interrupted", sys.stderr, "yellow"), err=True)
        return INTERRUPTED
    title, message = "error", str(error)
    if not isinstance(error, TrainingHubError):
        title, message = "unexpected error", f"{type(error).__name__}: {message}".removesuffix(": ")
        message = " ".join(message.split()) + ("" if debug else "; --debug shows where it comes from")
    elif not isinstance(error, UserError):
        title = "the run failed"
    # Several problems read as a list, one problem as a sentence.
    lines = message.splitlines()
    text = f" {message}" if len(lines) < 2 else "".join(f"\n  {line}" for line in lines)
    typer.echo(f"{styled(f'{title}:', sys.stderr, 'red')}{text}", err=True)
    return MISTAKE if isinstance(error, UserError) else FAILED
