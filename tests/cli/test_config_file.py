"""A file sets parameters, the command line wins, and a mistake is said with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training_hub.cli import main
from training_hub.cli.config_file import read_config
from training_hub.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def write(text: str, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_command_line_wins(config: Any, recording: Any) -> None:
    path = config("model_path: m\ndata_path: d\nckpt_output_dir: o\nseed: 1\nlearning_rate: 2e-5\nnum_epochs: 5\n")
    assert main(["train", "sft", "--config", str(path), "--seed", "2", "--backend", "recording"]) == 0
    seen = recording.seen[-1]
    assert (seen["seed"], seen["learning_rate"], seen["num_epochs"]) == (2, 2e-5, 5)
    assert "algorithm" not in seen
    assert "backend" not in seen


def test_values_remember_where_they_came_from(config: Any, translating: Any, request_files: dict[str, str]) -> None:
    lines = [f"{name}: {json.dumps(value)}" for name, value in request_files.items()]
    path = config("\n".join([*lines, "seed: 1", "num_epochs: 2", "backend: translating"]))
    assert main(["train", "sft", "--config", str(path), "--num-epochs", "1"]) == 0
    parameters = translating.seen[-1]
    assert parameters.origin["seed"] == f"file {path}:4"
    assert parameters.origin["num_epochs"] == "call"
    assert parameters.origin["learning_rate"] == "default"
    manifest = json.loads((Path(request_files["ckpt_output_dir"]) / "run.json").read_text())
    assert manifest["parameters"]["seed"] == {"value": 1, "origin": f"file {path}:4"}


@pytest.mark.parametrize(
    "text", ["algorithm: sft\nbackend: recording\n", '{"algorithm": "sft", "backend": "recording"}']
)
@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_the_file_may_name_algorithm_and_backend(text: str, form: str, config: Any, recording: Any) -> None:
    given = form.format(config(text)).split()
    assert main(["train", *given, "--model-path", "m", "--data-path", "d", "--ckpt-output-dir", "o"]) == 0
    assert recording.seen


def test_a_contradiction_about_the_algorithm_is_refused(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = config("seed: 1\nalgorithm: osft\n")
    assert main(["train", "sft", "--config", str(path)]) == 2
    assert f"{path}:2: the file is for the algorithm 'osft'" in capsys.readouterr().err


def test_a_file_without_an_algorithm_says_so(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(config("seed: 1\n"))]) == 2
    assert "add a line such as `algorithm: sft`" in capsys.readouterr().err


def test_a_misspelt_key_is_refused_with_its_line(
    config: Any, translating: Any, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config("seed: 1\n\nlerning_rate: 2e-5\n")
    assert main(["train", "sft", *options, "--backend", "translating", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"lerning_rate (from file {path}:3): neither a parameter of sft" in said
    assert "did you mean 'learning_rate'?" in said
    assert not (tmp_path / "out").exists()


def test_a_wrong_value_is_refused_with_its_line(
    config: Any, translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = config("seed: 1\nnum_epochs: 0\nuse_liger: true\n")
    assert main(["train", "sft", *options, "--config", str(path)]) == 2
    assert f"num_epochs: expected a whole number of at least 1; got 0 (from file {path}:2)" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["learning_rate: true", "num_epochs: false", "save_final_checkpoint: 'no'"])
def test_true_and_false_are_neither_numbers_nor_texts(
    line: str, config: Any, translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(f"seed: 1\n{line}\n")
    assert main(["train", "sft", *options, "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{line.partition(':')[0]}: expected" in said and f"(from file {path}:2)" in said
    assert not translating.seen


def test_what_a_backend_cannot_honour_is_refused_with_its_line(
    config: Any, translating: Any, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = config("use_liger: true\n")
    assert main(["train", "sft", *options, "--config", str(path)]) == 2
    assert f"use_liger=True (from file {path}:1): the translating backend cannot honour it" in capsys.readouterr().err


def test_a_backend_that_is_no_name_is_refused(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = config("backend: 3\n")
    assert main(["train", "sft", "--config", str(path)]) == 2
    assert f"backend: expected the name of a backend; got 3 (from file {path}:1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nnum_epochs: 2\nseed: 3\n", "{}:3: seed is given twice, first in line 1; keep one of them"),
        ("a:\n  b: 1\n  b: 2\n", "{}:3: b is given twice, first in line 2"),
        ("- seed\n- 1\n", "{}:1: expected a mapping of parameters, such as `learning_rate: 2e-5`; got a list"),
        ("\njust text\n", "{}:2: expected a mapping"),
        ("seed: 1\nb: [1\n", "{}:3: this is no YAML"),
        ("seed: 1\n\tb: 1\n", "{}:2: this is no YAML"),
        ("seed: 1\n---\nseed: 2\n", "{}:2: this is no YAML"),
        ("seed: !!python/object/apply:os.system ['true']\n", "{}:1: this is no YAML"),
        ("seed: \x01\n", "{}: this is no YAML"),
        ("1: 2\n", "{}:1: expected the name of a parameter; got '1'"),
        ("seed: 1\n? [a, b]\n: 2\n", "{}:2: this is no YAML: found unhashable key"),
        ("a: &a\n  b: 1\n? *a\n: 2\n", "{}"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text: str, said: str, config: Any) -> None:
    path = config(text)
    with pytest.raises(ConfigError) as error:
        read_config(path)
    assert str(error.value).startswith(said.format(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n\t"seed": 1,\n\t"seed": 2\n}', "{}:3: seed is given twice, first in line 2"),
        ('{\n"seed": 1,\n}', "{}:"),
        ("seed: 1", "{}:1: this is no JSON"),
        ("[1]", "{}:1: expected a mapping"),
    ],
)
def test_a_broken_json_file_too(text: str, said: str, config: Any) -> None:
    path = config(text, "run.json")
    with pytest.raises(ConfigError) as error:
        read_config(path)
    assert str(error.value).startswith(said.format(path))


def test_missing_directory_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "binary.yaml")


def test_json_texts_are_read_as_json_reads_them(config: Any) -> None:
    path = config('{\n\t"tag": "\\ud83d\\ude00\\/\\t",\n\t"rate": 1E-5\n}', "run.json")
    assert read_config(path).values == {"tag": "\U0001f600/\t", "rate": 1e-5}
    assert read_config(path).lines == {"tag": 2, "rate": 3}


@pytest.mark.parametrize("text", ["", "# only words\n", "---\n", "{}"])
def test_an_empty_file_sets_nothing(text: str, config: Any) -> None:
    assert not read_config(config(text)).values


def test_scalars_are_those_of_yaml_1_2(config: Any) -> None:
    text = (
        "a: 2e-5\nb: no\nc: 12:30\nd: 010\ne: 0x10\nf: 2026-01-31\ng: ~\nh: .5\n"
        "i: '2e-5'\nj: 0o17\nk:\nl: True\nm: 1_000"
    )
    assert read_config(config(text)).values == {
        "a": 2e-5,
        "b": "no",
        "c": "12:30",
        "d": 10,
        "e": 16,
        "f": "2026-01-31",
        "g": None,
        "h": 0.5,
        "i": "2e-5",
        "j": 15,
        "k": None,
        "l": True,
        "m": "1_000",
    }


def test_anchors_and_merges_work(config: Any) -> None:
    file = read_config(config("a: &a {b: 1}\nc:\n  <<: *a\n  d: 2\n<<: {e: 5}\n"))
    assert file.values == {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": 5}
    assert file.place("e").endswith(":5")
