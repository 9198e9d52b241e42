"""`training-hub train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from training_hub import TrainingFailedError
from training_hub.cli import main

HERE = ["--model-path=m", "--data-path=d", "--ckpt-output-dir=o", "--backend=recording"]


def test_a_run_ends_with_where_the_model_is(
    translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "sft", *options]) == 0
    out = capsys.readouterr().out
    assert "done: 3 steps, loss 1.5000" in out
    assert f"model: {tmp_path / 'out' / 'final'}" in out
    assert f"run: {tmp_path / 'out'}" in out


def test_the_choice_of_backend_and_the_steps_are_shown(
    translating: Any, options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pytest's own handlers make this a process that has set up logging.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert main(["train", "sft", *options]) == 0
    err = capsys.readouterr().err
    assert "backend translating: first that can run here; passed over instructlab-training: not installed" in err
    assert "step 1/3" in err
    assert "step 3/3  epoch 1.00  loss 1.5000" in err


def test_a_result_of_any_kind_will_do(recording: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", *HERE]) == 0
    assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            TrainingFailedError("rank 1 failed: MemoryError\nlog: out/logs"),
            1,
            "the run failed:\n  rank 1 failed: MemoryError\n  log: out/logs\n",
        ),
        (
            ValueError("a\n  surprise"),
            1,
            "unexpected error: ValueError: a surprise; --debug shows where it comes from\n",
        ),
        (RuntimeError(), 1, "unexpected error: RuntimeError; --debug shows where it comes from\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(3), 3, ""),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    recording: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(recording, "error", error)
    assert main(["train", "sft", *HERE]) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_debug_shows_the_traceback(
    place: str, recording: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recording, "error", ValueError("surprise"))
    argv = ["train", "sft", *HERE]
    argv.insert({"before": 0, "between": 1, "after": len(argv)}[place], "--debug")
    assert main(argv) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.rstrip().endswith("unexpected error: ValueError: surprise")


def test_debug_keeps_the_exit_code_of_a_mistake(recording: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", *HERE, "--num-epochs", "0", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_several_problems_are_listed(recording: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", "--backend", "recording", "--num-epochs", "0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error:"
    assert {line.split(":")[0] for line in lines[1:]} == {
        "  num_epochs",
        "  model_path",
        "  data_path",
        "  ckpt_output_dir",
    }


def test_a_missing_model_is_a_users_mistake(
    translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "sft", *options, "--model-path", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: model_path=")


def test_without_a_backend_the_command_that_installs_one_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", "--model-path=m", "--data-path=d", "--ckpt-output-dir=o"]) == 2
    assert 'pip install "training-hub[trl]"' in capsys.readouterr().err
