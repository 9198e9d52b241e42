"""How a process that trains starts and ends: with its job, and with what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from training_hub.backends.job import Job
from training_hub.store.outcome import Outcome
from training_hub.worker.failure import recorded_failure
from training_hub.worker.rank import rank


def run_worker(train: Callable[[Job], Outcome | None], end: Callable[[], None] | None = None) -> None:
    """Carry one process through: the last line of the module that torchrun runs in each.

    The command line names the job's file. An error is left where the caller's process finds it, and the process ends
    when the caller's is gone.

    Args:
        train: Trains; the outcome of the process of rank 0 reaches the caller, the others return None.
        end: Called once the outcome is written, where the processes must part in some way.
    """
    job = Job.read(Path(sys.argv[1]))
    with recorded_failure(job.directory.logs):
        outcome = train(job)
        # A process that only prepares something has no outcome.
        if outcome is not None and rank() == 0:
            job.tell_unread()
            outcome.write(job.directory)
        if end is not None:
            end()
