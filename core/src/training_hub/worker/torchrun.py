"""torchrun, which also leaves as data how its processes ended: `python -m training_hub.worker.torchrun ...`.

Of a process that a signal ended, torchrun itself tells in its log alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from training_hub.store.process_ends import VARIABLE, ProcessEnd, write_ends


def main(arguments: list[str]) -> None:
    """Do what torchrun does with these arguments.

    Raises:
        ChildFailedError: A process failed; how all of them ended is written to the file that the variable names.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(arguments)
    except ChildFailedError as error:
        ends = [ProcessEnd(rank, end.local_rank, end.exitcode, end.timestamp) for rank, end in error.failures.items()]
        # A disk that is full hides no failure: the log has it, too.
        with contextlib.suppress(OSError):
            if path := os.environ.get(VARIABLE):
                write_ends(Path(path), ends)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
