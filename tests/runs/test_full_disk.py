"""A disk that takes no more, here by a bound on the size of a file."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training_hub import TrainingHubCallback, sft
from training_hub.errors import TrainingFailedError
from training_hub.store.events import EventLog, live_events, read_events


@contextlib.contextmanager
def files_up_to(count: int) -> Iterator[None]:
    """While the block runs, a file takes no more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_cannot_tell_of_its_steps_fails_with_that_and_goes_on_later(job: dict[str, Any]) -> None:
    class Saves(TrainingHubCallback):
        def on_train_begin(self, context: Any) -> None:
            context.save()

    out = job["ckpt_output_dir"]
    with (
        files_up_to(20_000),
        pytest.raises(TrainingFailedError, match=r"File too large(.|\n)*last complete checkpoint: .*resume=True"),
    ):
        sft(**job, callbacks=Saves())
    assert sft(**job, resume=True).state == "completed"
    steps = [event["step"] for event in live_events(read_events(out / "events.jsonl")) if event["event"] == "step"]
    assert steps == list(range(1, 401))


def test_an_event_of_which_a_part_was_written_is_an_error(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("warning", message="short")
    with files_up_to(log.path.stat().st_size + 40), pytest.raises(OSError, match="File too large"):
        log.emit("warning", message="long" * 20)
    log.emit("warning", message="next")
    assert [event["message"] for event in read_events(log.path)] == ["short", "next"]
