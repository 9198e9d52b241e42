"""TensorBoard's files, read back by its own reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from telling import STEPS, losses
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from training_hub.errors import ParameterError, TrainingFailedError
from training_hub.store.directory import RunDirectory
from training_hub.store.events import EventLog
from training_hub.trackers.dispatch import Trackers
from training_hub.trackers.tensorboard import TensorBoard


def read(directory: Path) -> EventAccumulator:
    found = EventAccumulator(str(directory))
    found.Reload()
    return found


def text(found: EventAccumulator, tag: str) -> str:
    [event] = found.Tensors(tag)
    return event.tensor_proto.string_val[0].decode()


def status(found: EventAccumulator) -> int:
    content = found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info.status


def test_every_figure_is_there_at_its_step(train: Callable[..., Any], tmp_path: Path) -> None:
    train(tensorboard_log_dir=tmp_path / "tb")
    found = read(tmp_path / "tb")
    steps = list(range(1, STEPS + 1))
    assert [event.step for event in found.Scalars("loss")] == steps
    assert [event.value for event in found.Scalars("loss")] == pytest.approx(losses())
    for name in ("learning_rate", "grad_norm", "tokens_per_second", "epoch", "tokens", "framework/samples per s"):
        assert [event.step for event in found.Scalars(name)] == steps, name
    assert [(event.step, event.value) for event in found.Scalars("validation_loss")] == [(STEPS, 0.25)]
    assert [event.value for event in found.Scalars("final/seconds")] == [1.5]
    assert "framework/name" not in found.Tags()["scalars"] and "framework/on" not in found.Tags()["scalars"]


def test_parameters_state_and_report_are_there(train: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    train(tensorboard_log_dir=tmp_path / "tb", learning_rate=1e-3)
    found = read(tmp_path / "tb")
    assert "| learning_rate | 0.001 |" in text(found, "parameters")
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["learning_rate"].number_value == 1e-3
    assert (told["backend"].string_value, told["algorithm"].string_value) == ("telling", "sft")
    assert told["version/training-hub"].string_value
    assert text(found, "state") == "completed"
    assert status(found) == api_pb2.STATUS_SUCCESS
    kept = text(found, "run.json").removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(kept) == json.loads((out / "run.json").read_text())


def test_a_failed_run_says_so(train: Callable[..., Any], tmp_path: Path) -> None:
    def fail(step: int, run: Any) -> None:
        if step == 3:
            raise RuntimeError("out of luck")

    with pytest.raises(TrainingFailedError):
        train(fail, tensorboard_log_dir=tmp_path / "tb")
    found = read(tmp_path / "tb")
    assert [event.step for event in found.Scalars("loss")] == [1, 2]
    assert text(found, "state") == "failed: out of luck"
    assert status(found) == api_pb2.STATUS_FAILURE


def test_the_variable_of_tensorboard_turns_it_on_and_the_parameter_comes_first(
    train: Callable[..., Any], tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "variable"))
    train(ckpt_output_dir=out / "1")
    assert "loss" in read(tmp_path / "variable").Tags()["scalars"]
    train(ckpt_output_dir=out / "2", tensorboard_log_dir=tmp_path / "parameter")
    assert "loss" in read(tmp_path / "parameter").Tags()["scalars"]
    assert len(list((tmp_path / "variable").rglob("events.out*"))) == 1


def test_runs_in_one_directory_do_not_mix(train: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    for number in (1, 2, 3):
        train(ckpt_output_dir=out / str(number), tensorboard_log_dir=tmp_path / "tb")
    assert len({path.parent for path in (tmp_path / "tb").rglob("events.out*")}) == 3
    assert len(read(tmp_path / "tb").Scalars("loss")) == STEPS


def test_a_place_that_is_a_file_is_refused(train: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    (tmp_path / "tb").write_text("")
    with pytest.raises(ParameterError, match=r"tensorboard_log_dir=.*tb: .* is a file"):
        train(tensorboard_log_dir=tmp_path / "tb")
    assert not out.exists()


def test_a_resumed_run_goes_on_in_its_place(tmp_path: Path) -> None:
    """Told by the stream alone: what comes after the checkpoint is told anew, and counts once."""
    directory = RunDirectory(tmp_path)
    directory.logs.mkdir()
    manifest = {
        "parameters": {},
        "backend_kwargs": {},
        "algorithm": "sft",
        "backend": "telling",
        "versions": {},
        "start": 1.0,
    }

    def part(resumed_from: int | None, steps: range, state: str) -> None:
        given = {"tensorboard_log_dir": tmp_path / "tb"}
        trackers = Trackers([TensorBoard], given, manifest, directory, EventLog(directory.events))
        trackers.receive({"event": "start", "time": 1.0, "resumed_from": resumed_from})
        for step in steps:
            trackers.receive({"event": "step", "time": 1.0 + step, "step": step, "loss": float(step)})
        trackers.end(state)

    part(None, range(1, 5), "interrupted")
    part(2, range(3, 7), "completed")
    found = read(tmp_path / "tb")
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
