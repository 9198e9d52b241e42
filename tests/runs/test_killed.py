"""A run whose process is killed leaves nothing that keeps the next one from going on, however early it was."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training_hub import AlgorithmRegistry, TrainingHubCallback, TrainingResult, sft
from training_hub.errors import DatasetError
from training_hub.reading.record import load
from training_hub.reading.watching import watch
from training_hub.store.directory import RunDirectory
from training_hub.store.lock import locked


def kill_while(run: Callable[[], object]) -> None:
    """Carry out, in a process of its own, what ends by SIGKILL."""
    process = os.fork()
    if not process:
        try:
            run()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def early(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A job whose process is killed before it has begun to train."""
    counting = AlgorithmRegistry._backends["sft", "counting"]

    class Early(counting):
        def train(self, run: Any) -> TrainingResult:
            (run.directory.logs / "job.json").touch()
            kill()
            raise AssertionError

    monkeypatch.setitem(AlgorithmRegistry._backends, ("sft", "early"), Early)
    return job | {"backend": "early"}


def test_a_run_may_be_killed_before_it_begins_as_often_as_it_likes(job: dict[str, Any], early: dict[str, Any]) -> None:
    for _ in range(3):
        kill_while(lambda: sft(**early, resume=True))
    result = sft(**job, resume=True)
    assert result.state == "completed"
    assert not (result.run_dir / ".earlier-run").exists()


def test_a_run_that_was_to_be_replaced_outlives_those_that_never_began(
    job: dict[str, Any], early: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sft(**job)
    before = (first.run_dir / "events.jsonl").read_bytes()
    for _ in range(2):
        kill_while(lambda: sft(**early, overwrite_output_dir=True))

    def refuse(self: Any, run: Any) -> TrainingResult:
        raise DatasetError("row 1 is not to its liking")

    monkeypatch.setattr(AlgorithmRegistry._backends["sft", "counting"], "train", refuse)
    with pytest.raises(DatasetError):
        sft(**job, overwrite_output_dir=True)
    assert (first.run_dir / "events.jsonl").read_bytes() == before
    assert first.checkpoint.is_dir() and '"completed"' in (first.run_dir / "run.json").read_text()


def test_what_a_kill_left_of_the_trained_model_is_no_part_of_it(job: dict[str, Any]) -> None:
    class Stop(TrainingHubCallback):
        def on_log(self, context: Any) -> None:
            context.stop()

    out = sft(**job, callbacks=Stop()).run_dir
    (out / "final").mkdir()
    (out / "final" / ".half-written").touch()
    assert sft(**job, resume=True).state == "completed"
    assert not list((out / "final").iterdir())


@pytest.mark.parametrize("earlier", [False, True])
def test_a_process_that_is_killed_before_it_says_what_it_runs(
    job: dict[str, Any], early: dict[str, Any], earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        kill_while(lambda: sft(**early))
    with monkeypatch.context() as patched:
        patched.setattr("training_hub.execution.session.write_json", lambda *given: kill())
        kill_while(lambda: sft(**job, resume=True))
    assert not RunDirectory(job["ckpt_output_dir"]).manifest.exists()
    assert sft(**job, resume=True).state == "completed"


def test_who_watches_a_run_that_was_killed_is_told_at_once(early: dict[str, Any]) -> None:
    kill_while(lambda: sft(**early))
    out = Console(file=io.StringIO(), width=200)
    watch(early["ckpt_output_dir"], out)
    [*_, last] = out.file.getvalue().splitlines()
    assert last == f"killed; go on with it: training-hub resume {early['ckpt_output_dir']}"
    assert load(early["ckpt_output_dir"]).state == "killed"


WORKER = """
import sys
from pathlib import Path
from training_hub.worker.failure import recorded_failure

logs = Path(sys.argv[1])
(logs / "pid").write_text(__import__("os").readlink("/proc/self"))
(logs / "imports").read_text()
with recorded_failure(logs):
    (logs / "trained").touch()
"""
CALLER = """
import sys
from pathlib import Path
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan
from training_hub.store.lock import locked

logs = Path(sys.argv[1])
with locked(logs.parent):
    launch(LaunchPlan("slow_worker", 1, torchrun=False), [str(logs)], logs)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are waited for by pidfd")
@pytest.mark.parametrize("killed", [False, True])
def test_a_worker_that_comes_late_does_not_train_beside_the_next_run(tmp_path: Path, killed: bool) -> None:
    logs = tmp_path / "out" / "logs"
    logs.mkdir(parents=True)
    (tmp_path / "slow_worker.py").write_text(WORKER)
    # What a worker does before it looks for its caller may take seconds: it imports.
    os.mkfifo(logs / "imports")
    os.mkfifo(logs / "pid")
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(logs)], env=os.environ | {"PYTHONPATH": str(tmp_path)})
    worker = os.pidfd_open(int((logs / "pid").read_text()))
    try:
        if killed:
            caller.kill()
            caller.wait()
            with locked(logs.parent):
                (logs / "imports").write_text("done")
                assert select.select([worker], [], [], 30)[0]
            assert not (logs / "trained").exists()
        else:
            (logs / "imports").write_text("done")
            assert caller.wait() == 0 and (logs / "trained").exists()
    finally:
        os.close(worker)


def test_a_run_does_not_write_to_the_repository_that_it_is_called_in(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended while it does, it would leave a lock there, and git would refuse to commit."""
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    (repository / "notes").write_text("a")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*author, "commit", "-qm", "first")):
        subprocess.run(["git", *command], check=True)
    # git status would note that this file, though touched, is as it was.
    os.utime("notes", (1e9, 1e9))
    before = (repository / ".git" / "index").read_bytes()
    sft(**job)
    assert (repository / ".git" / "index").read_bytes() == before
