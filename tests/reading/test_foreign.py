"""Metrics files as the frameworks write them, with their own names and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.errors import RunFormatError, RunNotFoundError
from training_hub.reading.foreign import metrics_file
from training_hub.reading.history import points
from training_hub.reading.sources import log_source, source


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def instructlab(step: int, loss: float, second: int) -> dict[str, Any]:
    return {
        "epoch": 0,
        "step": step,
        "rank": 0,
        "overall_throughput": 16.7,
        "lr": 0.002,
        "num_loss_counted_tokens": 186,
        "avg_loss": loss,
        "samples_seen": 8 * step,
        "gradnorm": None,
        "num_epoch_steps": 3,
        "timestamp": f"2026-11-24T18:54:{second:02}.507965",
    }


ARGUMENTS = {"model_name_or_path": "m", "num_epochs": 4, "last_step": 0, "timestamp": "2026-11-24T18:54:30.1"}


def test_instructlab_training(tmp_path: Path) -> None:
    lines(
        tmp_path / "out" / "training_params_and_metrics_global0.jsonl",
        ARGUMENTS,
        {"num_gpus": 2, "num_batches": 3, "total_samples": 20, "timestamp": "2026-11-24T18:54:37.598065"},
        instructlab(1, 5.6, 38),
        instructlab(2, 5.3, 40),
        {"val_loss": 5.2, "val_num_tokens": 90, "step": 2, "timestamp": "2026-11-24T18:54:41.5"},
    )
    found = source(tmp_path / "out")
    history = found.history
    assert found.name == "out"
    assert list(points(history.steps, "loss", "tokens")) == [(186, 5.6), (372, 5.3)]
    assert list(points(history.steps, "loss", "seconds")) == [(0, 5.6), (2, 5.3)]
    assert list(points(history.evaluations, "validation_loss", "steps")) == [(2, 5.2)]
    assert history.steps["epoch"][1] == pytest.approx(2 / 3)


def test_an_attempt_appended_to_the_file_goes_on_from_its_first_step(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "training_params_and_metrics_global0.jsonl",
        ARGUMENTS,
        *(instructlab(step, float(step), 30 + step) for step in (1, 2, 3)),
        ARGUMENTS,
        *(instructlab(step, 10.0 * step, 50 + step) for step in (2, 3)),
    )
    history = source(path).history
    assert list(points(history.steps, "loss", "steps")) == [(1, 1.0), (2, 20.0), (3, 30.0)]
    assert list(history.steps["tokens"]) == [186, 372, 558]


def test_mini_trainer(tmp_path: Path) -> None:
    def row(step: int, validated: float | None, **more: Any) -> dict[str, Any]:
        return {
            "step": step,
            "epoch": 0,
            "steps_per_epoch": 2,
            "lr": 1e-3,
            "grad_norm": 1.0,
            "loss": 6.0 - step,
            "total_tokens_accumulated": 50 * step,
            "tokens_per_second": 9.0,
            "val_loss": validated,
            "timestamp": f"2026-11-24T18:54:{step:02}",
        } | more

    rows = [row(1, None), row(2, 4.5, val_num_batches=1), row(3, 4.5), row(4, 4.0), row(5, 4.0, val_num_batches=1)]
    lines(tmp_path / "training_metrics_0.jsonl", *rows)
    lines(tmp_path / "training_metrics_1.jsonl", row(1, None, loss=99.0))
    history = source(tmp_path).history
    assert list(points(history.steps, "loss", "tokens")) == [(50, 5.0), (100, 4.0), (150, 3.0), (200, 2.0), (250, 1.0)]
    # The validation at the end of an epoch shows in the row of the step after it.
    assert list(points(history.evaluations, "validation_loss", "steps")) == [(2, 4.5), (3, 4.0), (5, 4.0)]


def state(path: Path, *log: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"global_step": 2, "max_steps": 2, "log_history": log}))
    return path


def test_trl(tmp_path: Path) -> None:
    state(tmp_path / "checkpoint-9" / "trainer_state.json")
    state(
        tmp_path / "checkpoint-10" / "trainer_state.json",
        {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-3, "num_tokens": 70.0, "epoch": 0.5, "step": 1},
        {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3, "num_tokens": 140.0, "epoch": 1.0, "step": 2},
        {"eval_loss": 0.9, "epoch": 1.0, "step": 2},
        {"train_runtime": 3.0, "train_loss": 1.5, "epoch": 1.0, "step": 2},
    )
    found = source(tmp_path)
    assert found.name == tmp_path.name
    assert list(points(found.history.steps, "loss", "tokens")) == [(70, 2.0), (140, 1.0)]
    assert list(points(found.history.evaluations, "validation_loss", "steps")) == [(2, 0.9)]


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    path = lines(tmp_path / "training_params_and_metrics_global0.jsonl", instructlab(1, 5.0, 1))
    with path.open("a") as stream:
        stream.write('{"epoch": 0, "step": 2, "avg_lo')
    assert list(source(path).history.steps.steps) == [1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"log_history": 3}'])
def test_a_damaged_state_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(RunFormatError, match=r"trainer_state\.json"):
        source(tmp_path)


def test_other_files_are_no_metrics(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert metrics_file(tmp_path) is None
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(RunNotFoundError, match="trainer_state"):
            source(place)
    with pytest.raises(RunNotFoundError, match="no such file"):
        source(tmp_path / "nowhere")


def test_a_run_of_ours_comes_before_what_its_framework_left(make_run: Any) -> None:
    path = make_run()
    state(path / "checkpoint-2" / "trainer_state.json", {"loss": 9.0, "step": 1})
    assert source(path).history.steps["loss"][0] == 3.0


def test_the_older_lora_sft(tmp_path: Path) -> None:
    rows = [{"step": n, "epoch": n / 2, "max_steps": 2, "loss": 4.0 / n, "learning_rate": 1e-4} for n in (1, 2)]
    whole_run = {"step": 2, "epoch": 1.0, "max_steps": 2, "train_loss": 9.0, "train_runtime": 3.0}
    lines(tmp_path / "out" / "training_metrics.jsonl", *rows, {"step": 2, "eval_loss": 3.5, "epoch": 1.0}, whole_run)
    found = source(tmp_path / "out")
    assert list(points(found.history.steps, "loss", "steps")) == [(1, 4.0), (2, 2.0)]
    assert list(points(found.history.evaluations, "validation_loss", "steps")) == [(2, 3.5)]
    assert found.history.max_steps == 2


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.none(), max_size=1)
NAMES_OF_FIGURES = st.sampled_from(["step", "loss", "avg_loss", "eval_loss", "epoch", "lr", "timestamp", "mine", ""])


@given(st.lists(st.dictionaries(NAMES_OF_FIGURES, VALUES) | VALUES, max_size=5))
def test_whatever_rows_a_log_has_it_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    file = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for keys in ((), ("mine", "loss")):
        steps = log_source(file, keys).history.steps
        assert len(steps) <= len(rows)
