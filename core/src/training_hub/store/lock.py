"""One run at a time in a directory: a lock that ends with the process that holds it, and by which its workers live."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training_hub.errors import OutputDirectoryError

NAME = ".lock"
CALLER = "TRAINING_HUB_CALLER"
"""Variable by which a worker knows the process, on this machine, that it works for."""
_PR_SET_PDEATHSIG = 1
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def locked(directory: Path, patience: float = 5.0) -> Iterator[None]:
    """Hold the directory's lock for the time of the block. The system releases it when this process ends, however.

    On a file system without locks the block runs without one.

    Args:
        directory: An existing directory.
        patience: Seconds to wait for workers of a run whose caller has just been killed: they are about to end.

    Raises:
        OutputDirectoryError: Another process holds it; the message says which.
    """
    descriptor, held = _take(directory / NAME, time.monotonic() + patience)
    try:
        if held is None:
            raise OutputDirectoryError(
                f"ckpt_output_dir={directory}: a run is under way there{_holder(descriptor)}; wait for its end, stop "
                f"it, or give another directory"
            )
        if held:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        try:
            yield
        finally:
            (directory / NAME).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take(path: Path, deadline: float) -> tuple[int, bool | None]:
    """A descriptor of the lock, and whether it is held: False where there are no locks, None where another has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before has removed the file by now: the lock of a file that is gone keeps nobody out.
            if _is_at(descriptor, path):
                return descriptor, True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return descriptor, None
            # A lock has no event to wait for with a bound in time.
            time.sleep(0.05)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return descriptor, False
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    found = _written(descriptor)
    return f" (process {found['pid']} on {found['host']})" if found else ""


def _written(descriptor: int) -> dict[str, Any] | None:
    """What the holder wrote of itself."""
    try:
        found = json.loads(os.pread(descriptor, 1000, 0))
        return {"pid": int(found["pid"]), "host": str(found["host"])}
    except (ValueError, KeyError, TypeError):
        return None


def left_behind(directory: Path) -> bool:
    """Whether a run of this machine's was killed there: its lock is still there, and nobody holds it."""
    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        holder = _written(descriptor)
        # Another machine's locks may not be seen from here.
        if holder is None or holder["host"] != socket.gethostname():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return _is_at(descriptor, directory / NAME)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def end_with_caller(directory: Path) -> None:
    """In a worker: end this process at once when the caller, who holds the lock, or the parent process is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # no locks here
    # The caller may have been killed while this process was started, and the next run have begun since.
    holder, caller = _written(descriptor), os.environ.get(CALLER)
    if holder and caller and holder["pid"] != int(caller):
        os.kill(os.getpid(), signal.SIGKILL)

    def wait() -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:
            return  # no locks here
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="training-hub-caller", daemon=True).start()
