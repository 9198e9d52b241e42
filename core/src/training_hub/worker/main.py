"""How a process that trains starts and ends: with its job, and with what came of it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from training_hub.backends.job import Job
from training_hub.store.outcome import Outcome
from training_hub.worker.failure import recorded_failure
from training_hub.worker.rank import process_group, rank


def run_worker(train: Callable[[Job], Outcome | None]) -> NoReturn:
    """Carry one process through: the last line of the module that torchrun runs in each.

    The command line names the job's file. An error is left where the caller's process finds it, and the process ends
    when the caller's is gone. It does not return: where there is a process group of PyTorch, the processes meet once
    more, now that all is written, and it is destroyed; then the process ends.

    Args:
        train: Trains; the outcome of the process of rank 0 reaches the caller, the others return None.
    """
    job = Job.read(Path(sys.argv[1]))
    with recorded_failure(job.directory.logs):
        outcome = train(job)
        # A process that only prepares something has no outcome.
        if outcome is not None and rank() == 0:
            job.tell_unread()
            outcome.write(job.directory)
        if group := process_group():
            group.barrier()
            group.destroy_process_group()
    _leave()


def _leave() -> NoReturn:
    """End the process as the interpreter does, less the last: taking modules apart.

    A process that takes PyTorch apart may be aborted by one of its threads (2.13 with gloo: once in some hundred runs),
    and a run that had written everything would be a failed one.
    """
    # As `multiprocessing` ends its processes: threads that work are waited for, and what asked to be called is.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
