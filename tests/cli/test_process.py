"""The installed command, as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest

COMMAND = shutil.which("training-hub", path=str(Path(sys.executable).parent)) or "training-hub"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRAINING_HUB_PLUGINS": "", **variables}
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, env=environment, timeout=60)


def test_version() -> None:
    assert run("--version").stdout == f"training-hub {version('training-hub')}\n"


def test_help_lists_the_commands() -> None:
    result = run("--help")
    assert result.returncode == 0
    for name in (
        "train",
        "plan",
        "backends",
        "schema",
        "demo",
        "runs",
        "watch",
        "plot",
        "report",
        "--install-completion",
        "--debug",
    ):
        assert name in result.stdout


def test_no_arguments_at_all_show_help() -> None:
    result = run()
    assert "backends" in result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "sft", "--help"],
        ["runs", "compare", "--help"],
        ["plot", "--help"],
        ["backends"],
        ["--version"],
    ],
)
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from training_hub.cli import main
        code = main({arguments!r})
        heavy = {{"torch", "transformers", "datasets", "pydantic", "rich.markdown", "matplotlib"}} & set(sys.modules)
        sys.exit(f"imported {{heavy}}" if heavy else code)
        """
    )
    environment = {**os.environ, "TRAINING_HUB_PLUGINS": ""}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["backends"], 0),
        (["train", "nothing"], 2),
        (["train", "sft", "--nothing"], 2),
        (["nothing"], 2),
        (["demo"], 2),
        (["schema"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    result = run(*arguments)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert bool(result.stderr) == bool(code)


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import signal, sys, time
        from training_hub import AlgorithmRegistry, Backend
        from training_hub.cli import main

        class Slow(Backend):
            def execute_training(self, algorithm_params):
                print("training", flush=True)
                time.sleep(60)

        # A shell lets what it starts in the background ignore the signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        AlgorithmRegistry.register_backend("sft", "slow", Slow)
        sys.exit(main(["train", "sft", "--model-path=m", "--data-path=d", "--ckpt-output-dir=o", "--backend=slow"]))
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err


def complete(words: str) -> list[str]:
    count = len(words.split(" ")) - 1
    result = run(COMP_WORDS=words, COMP_CWORD=str(count), _TRAINING_HUB_COMPLETE="complete_bash")
    return result.stdout.split()


def test_the_shell_completes() -> None:
    assert complete("training-hub tr") == ["train"]
    assert complete("training-hub train lo") == ["lora_sft"]
    assert complete("training-hub plan sft --learn") == ["--learning-rate"]
    assert complete("training-hub train sft --lr-scheduler cosine_with_m") == ["cosine_with_min_lr"]
    assert "--no-use-liger" in complete("training-hub train sft --no-use")


def test_a_closed_pipe_is_no_error() -> None:
    process = subprocess.Popen(
        [COMMAND, "train", "sft", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(timeout=30)
    assert "Traceback" not in err


@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_files_and_pipes_get_no_colour(colour: dict[str, str]) -> None:
    for arguments in (["--help"], ["train", "sft", "--help"], ["backends"], ["train", "nothing"]):
        result = run(*arguments, **colour)
        assert "\x1b" not in result.stdout + result.stderr
