"""What a failure that many users meet is said to need."""

from __future__ import annotations

import signal

import pytest

from training_hub.launchers.failures import advice, killed, meaning


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.", "lower max_tokens_per_gpu"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory", "machine's memory"),
        (
            "DistBackendError",
            "NCCL watchdog caught collective operation timeout: WorkNCCL(OpType=ALLREDUCE",
            "first error",
        ),
        ("RuntimeError", "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3721", "has died"),
        (
            "ImportError",
            "FlashAttention2 has been toggled on: the package flash_attn seems not installed",
            "flash-attn",
        ),
        ("RuntimeError", "ERROR: Trying to use Flash Attention on unsupported hardware.", "train without flash"),
        ("OSError", "[Errno 28] No space left on device", "free some space"),
        ("OSError", "[Errno 122] Disk quota exceeded", "free some space"),
        ("DistNetworkError", "errno: 98 - Address already in use, code: EADDRINUSE", "another process listens"),
        (
            "RuntimeError",
            "DataLoader worker (pid 1) is killed by signal: Bus error. out of shared memory",
            "--shm-size",
        ),
    ],
)
def test_a_known_failure_comes_with_what_to_do(kind: str, message: str, said: str) -> None:
    assert said in (advice(kind, message) or "")


def test_an_unknown_failure_comes_without() -> None:
    assert advice("ValueError", "shapes (3,4) and (5,) do not fit") is None


def test_the_rank_that_a_signal_ended_is_found_in_torchruns_log() -> None:
    log = """
[0]:
  time      : 2026-11-23_18:00:00
  host      : here
  rank      : 3 (local_rank: 1)
  exitcode  : -9 (pid: 4711)
"""
    assert killed(log) == (3, signal.SIGKILL)
    assert killed(log.replace("-9", "-15")) is None
    assert killed("failed (exitcode: -11) local_rank: 0 (pid: 7) of binary: python") == (0, signal.SIGSEGV)
    assert killed("failed (exitcode: 1) local_rank: 0 (pid: 7) of binary: python") is None


def test_signals_are_explained() -> None:
    assert "memory" in meaning(signal.SIGKILL)
    assert "crashed" in meaning(signal.SIGSEGV)
