"""Weights & Biases in its offline mode: what its client wrote, read back by its own message classes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from telling import events_of, losses
from wandb.proto import wandb_internal_pb2

from training_hub.errors import ParameterError, TrainingFailedError


@pytest.fixture(autouse=True)
def _session_of_its_own() -> Iterator[None]:
    """The client reads its variables once in a process."""
    wandb.teardown()
    yield
    wandb.teardown()


BLOCK, HEADER, CHUNK = 32768, 7, struct.Struct("<IHB")
"""A run's file is a log as LevelDB's: blocks of chunks, each with checksum, length and type, after a header."""


def records(directory: Path) -> Iterator[Any]:
    # As the end of the process does: the client's last block reaches the disk a moment after its run has finished.
    wandb.teardown()
    [path] = directory.glob("wandb/offline-run-*/run-*.wandb")
    data, at, whole = path.read_bytes(), HEADER, b""
    while at + CHUNK.size <= len(data):
        if BLOCK - at % BLOCK < CHUNK.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = CHUNK.unpack_from(data, at)
        at += CHUNK.size
        whole += data[at : at + length]
        at += length
        # 1 is a whole message and 4 the last part of one; 2 and 3 are the parts before.
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def entries(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_everything_is_in_the_offline_run(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(wandb_project="p", wandb_entity="us", wandb_run_name="first", learning_rate=1e-3)
    found = list(records(tmp_path))
    [run] = [record.run for record in found if record.HasField("run")][:1]
    assert (run.project, run.entity, run.display_name) == ("p", "us", "first")
    config = entries(run.config.update)
    assert (config["learning_rate"], config["backend"], config["algorithm"]) == (1e-3, "telling", "sft")
    assert config["version/training-hub"]
    rows = [entries(record.history.item) for record in found if record.HasField("history")]
    assert [(row["_step"], row["step"], row["loss"]) for row in rows] == [
        (step, step, loss) for step, loss in enumerate(losses(), start=1)
    ]
    for name in ("learning_rate", "grad_norm", "tokens_per_second", "epoch", "tokens", "framework/samples per s"):
        assert all(name in row for row in rows), name
    assert rows[-1]["validation_loss"] == 0.25
    summary: dict[str, Any] = {}
    for record in found:
        if record.HasField("summary"):
            summary |= entries(record.summary.update)
    assert (summary["state"], summary["final/seconds"]) == ("completed", 1.5)
    [artifact] = [record.artifact for record in found if record.HasField("artifact")]
    assert [entry.path for entry in artifact.manifest.contents] == ["report.html", "run.json"]
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]


def test_a_failed_run_says_so(train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "of-the-variable")

    def fail(step: int, run: Any) -> None:
        if step == 3:
            raise RuntimeError("out of luck")

    with pytest.raises(TrainingFailedError):
        train(fail)
    found = list(records(tmp_path))
    assert next(record.run.project for record in found if record.HasField("run")) == "of-the-variable"
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [1]


def test_a_run_that_the_program_has_open_is_left_alone(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with wandb.init(project="mine", dir=str(tmp_path / "mine")) as own:
        train(wandb_project="p")
        assert wandb.run is own
        own.log({"still": "open"})
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_without_a_key_it_is_refused_before_the_start_and_nobody_is_asked(
    train: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParameterError, match="wandb_project=p: there is no API key: run `wandb login`"):
        train(wandb_project="p")
    assert not out.exists()
    monkeypatch.setenv("WANDB_PROJECT", "p")
    train()
    [warning] = events_of(out, "warning")
    assert warning["message"].startswith("WANDB_PROJECT=p is set, and this run is not tracked there: there is no API")


def test_it_is_off_where_its_own_variable_says_so(
    train: Callable[..., Any], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(wandb_project="p")
    assert not events_of(out, "warning") and not list(tmp_path.glob("wandb*/*run*"))


def test_a_key_is_kept_nowhere(
    train: Callable[..., Any], tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", key)
    train(wandb_project="p")
    for path in (path for path in [*out.rglob("*"), *tmp_path.glob("wandb/**/*")] if path.is_file()):
        assert key.encode() not in path.read_bytes(), path
