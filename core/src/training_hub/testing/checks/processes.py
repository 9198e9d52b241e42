"""Several processes: the same losses as one, the cause of a failure, and an end when one of them dies."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from training_hub.errors import TrainingFailedError, TrainingHubError, UserError
from training_hub.store.events import read_events
from training_hub.testing.checks.subject import Subject, first_trainable, run_of
from training_hub.testing.killer import Killer
from training_hub.testing.runs import NotPossibleError, Runs, Toy, Trained


class Processes(Subject):
    """Checks with two processes, where they can run here."""

    def test_two_processes_give_the_losses_of_one(self, trained: Trained, runs: Runs, algorithm: str) -> None:
        found = run_of(runs, algorithm, "two")
        [start] = found.of_kind("start")
        assert start.get("world_size") == 2, f"the event `start` says world_size={start.get('world_size')}"
        assert found.losses == pytest.approx(trained.losses, abs=self.same_loss()), "losses of each step, two and one"

    def test_a_failing_worker_reports_its_cause(self, translates: None, runs: Runs, toy: Toy) -> None:
        algorithm = first_trainable(type(self))
        broken = runs.directory / "broken-model"
        shutil.copytree(toy.model, broken)
        weights = broken / "model.safetensors"
        # The file is whole, so that no check before the start finds it; the type of a tensor is none that there is.
        weights.write_bytes(weights.read_bytes().replace(b'"F32"', b'"F??"', 1))
        asked, processes = _with_most_processes(runs, algorithm, "corrupt", {"model_path": str(broken)})
        with pytest.raises(TrainingHubError) as raised:
            runs.train(algorithm, asked)
        said = str(raised.value)
        assert _names_weights(said, weights), (
            f"a tensor of model.safetensors has no known type, which the error should say; it is {raised.value!r}"
        )
        if isinstance(raised.value, UserError):
            return
        if processes > 1:
            assert re.search(r"rank \d", said), f"the error does not name the rank that failed: {said}"
        _recorded_as_failed(Path(asked["ckpt_output_dir"]))

    def test_a_killed_process_ends_the_run(self, translates: None, runs: Runs) -> None:
        algorithm = first_trainable(type(self))
        if not sys.platform.startswith("linux"):
            pytest.skip("processes are found by /proc, which only Linux has")
        try:
            asked = runs.asked(
                algorithm, {"num_epochs": 2000, "effective_batch_size": 8, "nproc_per_node": 2}, {}, "killed"
            )
        except NotPossibleError as error:
            pytest.skip(str(error))
        directory = Path(asked["ckpt_output_dir"])
        with Killer(directory / "events.jsonl", rank=1, patience=self.patience) as killer:
            with pytest.raises(TrainingHubError) as raised:
                runs.train(algorithm, asked)
            ended = time.monotonic()
        assert killer.killed_at is not None, f"the run ended before its first step: {raised.value}"
        assert not killer.gave_up, f"{self.patience:.0f} s after rank 1 was killed the run had not ended"
        assert ended - killer.killed_at < self.patience
        said = str(raised.value)
        assert isinstance(raised.value, TrainingFailedError), f"expected a TrainingFailedError; got {raised.value!r}"
        assert signal.SIGKILL.name in said, f"rank 1 was killed by SIGKILL; the error does not name the signal: {said}"
        assert "rank 1" in said, f"the error does not name the rank: {said}"
        assert not killer.alive(), "processes of the run are still there"
        _recorded_as_failed(directory)


def _with_most_processes(
    runs: Runs, algorithm: str, place: str, values: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    shorter = {**values, "num_epochs": 1}
    try:
        return runs.asked(algorithm, {**shorter, "nproc_per_node": 2}, {}, place), 2
    except NotPossibleError:
        return runs.asked(algorithm, shorter, {}, place), 1


def _names_weights(said: str, weights: Path) -> bool:
    """Whether an error names the file, its kind, or what the library that reads it says."""
    from safetensors import safe_open

    try:
        with safe_open(weights, framework="np"):
            reason = ""
    except Exception as error:
        reason = str(error)
    return "safetensor" in said.lower() or bool(reason and reason in said)


def _recorded_as_failed(directory: Path) -> None:
    manifest = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    assert manifest["state"] == "failed" and manifest.get("cause"), f"run.json says {manifest['state']!r}"
    assert [event for event in read_events(directory / "events.jsonl") if event["event"] == "fail"]
