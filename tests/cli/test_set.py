"""--set gives any argument of the framework."""

from __future__ import annotations

from typing import Any

import pytest

from training_hub.cli import main

HERE = ["--model-path=m", "--data-path=d", "--ckpt-output-dir=o", "--backend=recording"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("2e-5", 2e-5),
        ("true", True),
        ("no", "no"),
        ("2026-01-31", "2026-01-31"),
        ("[1, two]", [1, "two"]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("a=b", "a=b"),
    ],
)
def test_values_are_yaml(text: str, expected: Any, recording: Any) -> None:
    assert main(["train", "sft", *HERE, "--set", f"tag={text}"]) == 0
    assert recording.seen[-1]["tag"] == expected
    assert type(recording.seen[-1]["tag"]) is type(expected)


def test_null_takes_back_what_a_file_says(recording: Any, tmp_path: Any) -> None:
    (tmp_path / "run.yaml").write_text("tag: 1\nseed: 7\n")
    config = ["--config", str(tmp_path / "run.yaml"), "--set", "tag=null", "--set", "seed=null"]
    assert main(["train", "sft", *HERE, *config]) == 0
    assert "tag" not in recording.seen[-1]
    assert recording.seen[-1]["seed"] == 42


def test_a_parameter_is_read_like_its_option(recording: Any) -> None:
    assert main(["train", "sft", *HERE, "--set", "wandb_run_name=12"]) == 0
    assert recording.seen[-1]["wandb_run_name"] == "12"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["--set", "tag"], "expected NAME=VALUE"),
        (["--set", "=1"], "expected NAME=VALUE"),
        (["--set", "tag=1", "--set", "tag=2"], "--set tag: it is given twice"),
        (["--set", "tag=[1"], "--set tag=[1: the value is no YAML"),
        (["--set", "tag={a: [{b: 1, b: 2}]}"], "the value is no YAML: b is given twice"),
        (["--set", "seed=1", "--seed", "2"], "seed: --set and --seed both give it"),
    ],
)
def test_mistakes_are_said(texts: list[str], said: str, recording: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", *HERE, *texts]) == 2
    assert said in capsys.readouterr().err
    assert not recording.seen


def test_an_argument_that_the_framework_lacks_is_refused(
    translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "sft", *options, "--backend", "translating", "--set", "adam_epsilom=1"]) == 2
    assert "adam_epsilom" in (said := capsys.readouterr().err)
    assert "did you mean 'adam_epsilon'?" in said
    assert not translating.seen
