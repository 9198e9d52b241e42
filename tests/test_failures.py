"""What a failure that many users meet is said to need."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training_hub import TrainingFailedError
from training_hub.launchers.failures import advice, killed, meaning
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan
from training_hub.store.directory import RunDirectory
from training_hub.store.process_ends import FILE, ProcessEnd, read_ends, write_ends


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


def end(rank: int, exit_code: int, time: float = 0.0) -> ProcessEnd:
    return ProcessEnd(rank, rank, exit_code, time)


def test_the_rank_that_a_signal_ended_is_found_among_those_that_failed() -> None:
    assert killed([end(2, 1), end(3, -9)]) == (3, signal.SIGKILL)
    assert killed([end(0, -11)]) == (0, signal.SIGSEGV)
    assert killed([end(0, 1)]) is None
    assert killed([end(0, -99)]) is None
    assert killed([]) is None


def test_what_torchrun_itself_ended_was_ended_by_nobody_else() -> None:
    assert killed([end(0, 1), end(1, -15)]) is None
    assert killed([end(0, 1, 100.0), end(1, -9, 131.0)]) is None
    assert killed([end(0, -9, 100.0), end(1, -9, 131.0)]) == (0, signal.SIGKILL)


ELASTIC = """
class ChildFailedError(Exception):
    def __init__(self, failures):
        self.failures = failures
"""
TORCHRUN = """
import importlib
import sys
from types import SimpleNamespace

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main(arguments):
    *options, dash, module, asked = arguments
    print(*options, dash, module)
    if asked != "well":
        raise ChildFailedError({5: SimpleNamespace(local_rank=1, pid=7, exitcode=int(asked), timestamp=100)})
"""


@pytest.fixture
def torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's logs, and a torch whose torchrun starts nothing and says of the process what it is asked to."""
    for name, text in (("elastic/multiprocessing/errors.py", ELASTIC), ("run.py", TORCHRUN)):
        path = tmp_path / "path" / "torch" / "distributed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in (tmp_path / "path" / "torch").rglob("*/"):
        (package / "__init__.py").touch()
    (tmp_path / "path" / "torch" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    logs = tmp_path / "logs"
    logs.mkdir()
    return logs


PLAN = LaunchPlan("a_worker", 2, 3, 2, {"rdzv-endpoint": "first:29400"})


def test_a_rank_that_is_killed_is_named_without_reading_the_log(torchrun: Path) -> None:
    with pytest.raises(TrainingFailedError, match=r"rank 5 was ended by SIGKILL: .*memory runs out.*\nlog: ") as caught:
        launch(PLAN, ["-9"], torchrun)
    assert str(torchrun / "processes.log") in str(caught.value)


def test_a_process_that_fails_by_itself_is_told_of_by_what_was_printed(torchrun: Path) -> None:
    with pytest.raises(TrainingFailedError, match="the processes ended with exit code 1 and left no error"):
        launch(PLAN, ["1"], torchrun)


def test_a_plans_command_is_torchruns(torchrun: Path) -> None:
    launch(PLAN, ["well"], torchrun)
    told = "--nnodes=3 --nproc-per-node=2 --node-rank=2 --rdzv-endpoint=first:29400 -m a_worker\n"
    assert (torchrun / "processes.log").read_text() == told
    # So can a person start it, who has set none of the hub's variables.
    ended = subprocess.run([sys.executable, *PLAN.argv("-9")], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "ChildFailedError" in ended.stderr
    assert [path.name for path in torchrun.iterdir()] == ["processes.log"]


def test_how_an_earlier_run_ended_is_forgotten_when_it_goes_on(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.logs.mkdir()
    write_ends(directory.logs / FILE, [end(0, -9)])
    with directory.new_run(resumed=True):
        assert read_ends(directory.logs / FILE) == []


def test_signals_are_explained() -> None:
    assert "memory" in meaning(signal.SIGKILL)
    assert "crashed" in meaning(signal.SIGSEGV)
