"""What to do about failures that many users meet, told from what a failed process left behind."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from training_hub.store.process_ends import ProcessEnd

_MEMORY = (
    "lower max_tokens_per_gpu (it never changes the result), train on more GPUs, or move weights or optimizer to the "
    "CPU where the backend can"
)
_ANOTHER = "another process has died or hangs: look in the log for the first error of the other ranks"
_FLASH = "install one that fits this torch (pip install flash-attn --no-build-isolation), or train without it"

# The first that matches is said: the narrow ones come before the wide ones.
_KNOWN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"bus error|/dev/shm|shared memory object|insufficient shared memory",
            "shared memory is full: start the container with a larger one (docker run --shm-size=16g)",
        ),
        (r"no space left on device|disk quota exceeded", "free some space, or give ckpt_output_dir on another disk"),
        (
            r"EADDRINUSE|address already in use",
            "another process listens on that port: give another master_port or rdzv_endpoint, or wait for its end",
        ),
        (r"OutOfMemoryError|CUDA out of memory|CUDNN_STATUS_ALLOC_FAILED|HIP out of memory", f"GPU memory: {_MEMORY}"),
        (
            r"MemoryError|can't allocate memory|cannot allocate memory",
            "the machine's memory is used up: train with fewer processes on this node, or on a larger machine",
        ),
        (
            r"(watchdog|nccl|gloo|collective|store|barrier).*(timeout|timed out)",
            f"{_ANOTHER}; NCCL_DEBUG=INFO says more about the network",
        ),
        (r"unsupported hardware.*flash|flash.*(unsupported hardware|only supports)", "train without flash attention"),
        (r"flash_attn|flash-attn|flash attention", f"flash-attn is missing or does not fit: {_FLASH}"),
        (
            r"no kernel image is available|CUDA driver version is insufficient|forward compatibility was attempted",
            "this torch was built for other GPUs or a newer driver: install the one that fits (pytorch.org)",
        ),
        (
            r"NCCL error|ncclSystemError|ncclRemoteError|ncclInternalError|ncclUnhandledCudaError",
            f"{_ANOTHER}; set NCCL_DEBUG=INFO",
        ),
        (r"connection (was )?(closed|reset) by peer|broken pipe|socket closed", _ANOTHER),
    )
)

_PATIENCE = 30
"""Seconds that torchrun gives processes to end, once one has failed, before it ends them by force."""


def advice(kind: str, message: str) -> str | None:
    """What a person can do about an error, in one line.

    Args:
        kind: Name of the error's type.
        message: Its message, or the last lines of a log.
    """
    said = f"{kind}: {message}"
    return next((line for pattern, line in _KNOWN if pattern.search(said)), None)


def known_line(log: str) -> str | None:
    """The last line of a log that `advice` is about."""
    found = advice("", log)
    lines = reversed(log.splitlines())
    return next((line.strip() for line in lines if found and advice("", line) == found), None)


def killed(ends: Sequence[ProcessEnd]) -> tuple[int, signal.Signals] | None:
    """The rank that a signal ended, and the signal.

    Processes that torchrun itself ended, because another one had failed, do not count.
    """
    first = min((end.time for end in ends), default=0.0)
    for end in ends:
        number = -end.exit_code
        by_force = number == signal.SIGKILL and end.time - first >= _PATIENCE
        if number in set(signal.Signals) and number != signal.SIGTERM and not by_force:
            return end.rank, signal.Signals(number)
    return None


def meaning(ended_by: signal.Signals) -> str:
    """Why a process ends by such a signal, as a rule."""
    match ended_by:
        case signal.SIGKILL:
            return (
                "the system ends a process so when memory runs out (dmesg says), or somebody ended it: train with "
                "fewer processes on this node, or on a machine with more memory"
            )
        case signal.SIGSEGV | signal.SIGBUS | signal.SIGILL | signal.SIGFPE | signal.SIGABRT:
            return "a library crashed, often one built for another torch or driver: see the last lines of the log"
        case _:
            return "somebody, or a scheduler, ended it"
