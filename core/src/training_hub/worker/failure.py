"""What a process that trains leaves behind when it fails, for the caller's process to find."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from training_hub.errors import import_failure, in_one_line
from training_hub.store.lock import end_with_caller
from training_hub.worker.rank import rank


@contextlib.contextmanager
def recorded_failure(logs: Path) -> Iterator[None]:
    """In a worker: leave the error that ends the block where `launch` finds it, and do not outlive the caller."""
    end_with_caller(logs.parent)
    try:
        yield
    except BaseException as error:
        importing = import_failure(error)
        record = {
            "rank": rank(),
            "time": time.time(),
            "type": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
            "import": in_one_line(importing) if importing else None,
        }
        (logs / f"rank-{rank()}.error.json").write_text(json.dumps(record), encoding="utf-8")
        raise
