"""`training-hub plan`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from training_hub import Availability
from training_hub.cli import main


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


def item(made: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in made["parameters"] if entry["parameter"] == name)


def line(text: str, name: str) -> str:
    return next(found for found in text.splitlines() if found.startswith(name))


def test_it_prints_what_becomes_of_each_parameter(
    translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("num_epochs: 2\n")
    config = ["--config", str(tmp_path / "run.yaml")]
    assert main(["plan", "sft", *options, *config, "--learning-rate", "1e-3", "--set", "tag=x"]) == 0
    text = capsys.readouterr().out
    assert "backend translating: first that can run here; passed over instructlab-training: not installed" in text
    assert line(text, "learning_rate").split() == ["learning_rate", "0.001", "command", "line", "exact", "Arguments.lr"]
    assert f"file {tmp_path / 'run.yaml'}:1" in " ".join(text.split())
    assert "approximate" in line(text, "warmup_steps")
    assert "as a share of all steps" in line(text, "warmup_steps")
    assert "by hub" in line(text, "seed")
    assert "Arguments.tag" in line(text, "tag")
    assert "use_liger" in text[text.index("unused") :]
    assert "the hub reports" in line(text, "Arguments.report")
    assert "batches: effective_batch_size 16 = micro_batch_size 4 x gradient_accumulation_steps 4 x 1 process" in text
    assert "processes: none; it trains in the process that calls" in text
    assert text.rstrip().endswith("nothing stands in the way of a run")


def test_as_json(translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "sft", *options, "--json", "--num-epochs", "2", "--nproc-per-node", "2"]) == 0
    made = as_json(capsys)
    assert made["algorithm"] == "sft"
    assert made["backend"] == "translating"
    assert item(made, "num_epochs") == {
        "parameter": "num_epochs",
        "value": 2,
        "how": "exact",
        "argument": "Arguments.epochs",
        "argument_value": 2.0,
        "note": "",
        "origin": "call",
    }
    assert made["arguments"]["Arguments"]["epochs"] == 2.0
    assert made["batches"]["world_size"] == 2
    assert made["launch"]["argv"][-2:] == ["-m", "some.worker"]
    assert made["problems"] == []
    assert "1 row of format messages" in made["checked"]


def test_nothing_is_written_and_nothing_heavy_imported(translating: Any, options: list[str], tmp_path: Path) -> None:
    before = set(sys.modules)
    assert main(["plan", "sft", *options]) == 0
    assert not (tmp_path / "out").exists()
    assert not {"torch", "transformers", "datasets"} & (set(sys.modules) - before)


def test_what_is_refused_is_in_the_table_and_ends_it_with_2(
    translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sft", *options, "--use-liger", "--set", "tga=1"]) == 2
    text = capsys.readouterr().out
    assert "refused" in line(text, "use_liger")
    assert "this framework has no such kernels" in line(text, "use_liger")
    assert "problem: tga: neither a parameter of sft" in text
    assert "exact" in line(text, "learning_rate")
    assert text.rstrip().endswith("a run would be refused")


def test_model_and_data_are_looked_at(
    translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sft", *options, "--data-path", str(tmp_path / "none.jsonl")]) == 2
    text = capsys.readouterr().out
    assert "none.jsonl" in text[text.index("problem:") :]
    assert "exact" in line(text, "learning_rate")


def test_an_output_directory_with_another_run_is_a_problem(
    translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    assert main(["plan", "sft", *options, "--json"]) == 2
    assert "it holds another run (run.json)" in as_json(capsys)["problems"][0]


def test_a_translation_that_fails_is_a_problem_beside_the_others(
    translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["--effective-batch-size", "3", "--nproc-per-node", "2", "--model-path", "/none/at/all"]
    assert main(["plan", "sft", *options, *wrong]) == 2
    text = capsys.readouterr().out
    assert "problem: effective_batch_size=3 cannot be shared out evenly" in text
    assert "problem: model_path=/none/at/all" in text
    assert "3" in line(text, "effective_batch_size")


def test_a_backend_that_cannot_run_here_is_planned_all_the_same(
    translating: Any, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(translating, "available", Availability(False, "a GPU is needed"))
    for named in ([], ["--backend", "translating"]):
        assert main(["plan", "sft", *options, *named]) == 2
        text = capsys.readouterr().out
        assert "a GPU is needed" in text[text.index("problem:") :]
        assert "Arguments.lr" in line(text, "learning_rate")


def test_a_plain_backend_gets_everything_as_it_is(recording: Any, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--model-path=m", "--data-path=d", "--ckpt-output-dir=o", "--backend", "recording", "--set", "own=1"]
    assert main(["plan", "sft", *here]) == 0
    text = capsys.readouterr().out
    assert "everything is handed over as it is" in text
    assert "as it is" in line(text, "own")
    assert main(["plan", "sft", *here, "--json"]) == 0
    assert as_json(capsys)["arguments"]["own"] == 1
    assert not recording.seen


def test_a_narrow_screen_keeps_names_and_values_whole(
    translating: Any, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["plan", "sft", *options]) == 0
    text = capsys.readouterr().out
    assert "learning_rate = 2e-05  exact  (default)\n    Arguments.lr\n" in text
    assert f"model_path = {options[1]}  by hub" in text


def test_values_that_make_no_sense_leave_nothing_to_plan(
    translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sft", *options, "--num-epochs", "none"]) == 2
    assert "num_epochs: expected a whole number" in capsys.readouterr().err
