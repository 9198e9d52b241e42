"""The hub's part in a framework's loop, without a framework: what it tells, and what the user gets at the end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training_hub.errors import NonFiniteLossError
from training_hub.plugin import Checkpoint, FrameworkLoop, Job, Progress, RowOrder, read_events
from training_hub.testing.jobs import make_job

LENGTHS = [5, 7, 11]


def begun(job: Job, **given: Any) -> FrameworkLoop:
    """A loop over three rows by two, in the order of the file, for two epochs."""
    loop = FrameworkLoop(job)
    done = job.resume_from.step if job.resume_from else 0
    order = RowOrder(Progress(3, 2, 2, done), LENGTHS, lambda epoch: range(3))
    loop.begin(None, None, None, order, **given)  # of one process neither device nor model is asked
    return loop


def told(job: Job, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(job.directory.events) if event["event"] == kind]


def trained(loop: FrameworkLoop, steps: int) -> FrameworkLoop:
    for _ in range(steps):
        loop.progress.done += 1
        loop.step(loss=2.0, learning_rate=1e-3, grad_norm=1.0)
    return loop


def written(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


def test_steps_are_told_with_the_tokens_of_their_rows(tmp_path: Path) -> None:
    job = make_job(tmp_path, backend="mine")
    trained(begun(job), 4)
    [start] = told(job, "start")
    assert (start["rows"], start["max_steps"], start["num_epochs"], start["backend"]) == (3, 4, 2, "mine")
    steps = [(event["step"], event["tokens"], event["epoch"]) for event in told(job, "step")]
    assert steps == [(1, 12, 2 / 3), (2, 23, 1), (3, 35, 5 / 3), (4, 46, 2)]


def test_a_run_that_goes_on_with_other_rows_counts_on_from_what_it_had(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), resume_from=Checkpoint(tmp_path, 2, True, {"tokens": 1000}))
    trained(begun(job), 1)
    [step] = told(job, "step")
    assert (step["step"], step["tokens"]) == (3, 1012)


def test_where_epochs_do_not_end_it_neither_do_they_say_how_many_steps_there_are(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    trained(begun(job, by_epochs=False), 1)
    [start], [step] = told(job, "start"), told(job, "step")
    assert (start["num_epochs"], start["max_steps"], step["max_steps"]) == (None, None, None)


def test_a_broken_loss_ends_the_run_with_its_rows_or_is_warned_of(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"step 2 is nan; its rows, .*: 3;"):
        begun(make_job(tmp_path / "stops")).look(math.nan, 2)
    job = make_job(tmp_path / "warns", on_nan="warn")
    begun(job).look(math.inf, 1)
    assert [event["step"] for event in told(job, "warning")] == [1]


@pytest.mark.parametrize("saves", [True, False])
def test_the_end_of_a_run_is_its_last_checkpoint_by_another_name(saves: bool, tmp_path: Path) -> None:
    job = make_job(tmp_path, save_final_checkpoint=saves)
    loop = trained(begun(job), 4)
    loop.keeper.adopt(written(tmp_path / "logs" / "written"), 4)
    loop.keeper.complete(4, resumable=False)
    outcome = loop.end()
    assert outcome.checkpoint == tmp_path / ("final" if saves else "checkpoint-4")
    assert (outcome.metrics["tokens"], outcome.metrics["step"]) == (46, 4)
    assert (tmp_path / "final" / "model.safetensors").exists() is saves


def test_a_stopped_run_has_no_final_model(tmp_path: Path) -> None:
    loop = trained(begun(make_job(tmp_path)), 3)
    loop.stopped = True
    loop.keeper.adopt(written(tmp_path / "logs" / "written"), 3)
    loop.keeper.complete(3, resumable=True)
    assert loop.end().checkpoint == tmp_path / "checkpoint-3"
    assert not (tmp_path / "final").exists()
