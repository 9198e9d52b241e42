"""A run that fails before it trains: what it leaves, what it puts back, and what its error says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from training_hub import AlgorithmRegistry, FrameworkBackend, SFTAlgorithm, TrainingResult, sft
from training_hub.backends.translation import Translation, by_hub, translate
from training_hub.cli import main
from training_hub.errors import OutputDirectoryError, TrainingFailedError
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan
from training_hub.preflight.request import check_request
from training_hub.store.events import read_events

WORKER = """
    import sys
    from pathlib import Path
    from training_hub.worker.failure import recorded_failure

    print("this process was here")
    with recorded_failure(Path(sys.argv[1])):
        {body}
"""


class Elsewhere(FrameworkBackend):
    """Trains in a process of its own, which runs the module `early_worker`."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft",)
    framework: ClassVar[str | None] = "pluggy"

    def translate(self, parameters: Any) -> Translation:
        found = translate(self.name, {name: by_hub("unused") for name in parameters.declared}, parameters)
        return replace(found, launch=LaunchPlan("early_worker", 1, torchrun=False))

    def train(self, run: Any) -> TrainingResult:
        launch(run.translation.launch, [str(run.directory.logs)], run.directory.logs)
        raise AssertionError("the process ended well")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the module that the processes of the backend `process` run."""
    monkeypatch.setitem(AlgorithmRegistry._backends, ("sft", "process"), Elsewhere)
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(modules))

    def write(body: str, source: str = WORKER, **others: str) -> None:
        (modules / "early_worker.py").write_text(textwrap.dedent(source).replace("{body}", body))
        for name, text in others.items():
            (modules / f"{name}.py").write_text(textwrap.dedent(text))

    return write


@pytest.fixture
def failing(job: dict[str, Any], worker: Any) -> dict[str, Any]:
    worker("raise RuntimeError('no driver')")
    return job | {"backend": "process"}


def test_a_run_that_failed_before_it_began_does_not_block_the_next(
    job: dict[str, Any], failing: dict[str, Any]
) -> None:
    out = Path(job["ckpt_output_dir"])
    for _ in range(2):
        with pytest.raises(TrainingFailedError, match=r"no driver\nlog: .*processes\.log"):
            sft(**failing)
        assert "this process was here" in (out / "logs" / "processes.log").read_text()
        assert not (out / ".earlier-run").exists()
    assert sft(**job).state == "completed"
    assert not (out / "logs" / "processes.log").exists()


def test_an_earlier_run_is_put_back_and_the_failed_ones_log_stays(job: dict[str, Any], failing: dict[str, Any]) -> None:
    out = sft(**job).run_dir
    (out / "logs" / "processes.log").write_text("of the first\n")
    (out / "logs" / "tracker-mine.json").write_text("{}")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".log"}
    with pytest.raises(TrainingFailedError) as raised:
        sft(**failing, overwrite_output_dir=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".log"} == before
    log = Path(str(raised.value).rpartition("log: ")[2])
    assert log.read_text().startswith("of the first\nthis process was here\n")
    assert (out / "final").is_dir() and not (out / ".earlier-run").exists()
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        sft(**job)


def test_an_earlier_run_is_put_back_after_an_interrupt(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    out = sft(**job).run_dir

    def interrupted(self: Any, run: Any) -> TrainingResult:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(AlgorithmRegistry._backends["sft", "counting"], "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sft(**job, overwrite_output_dir=True)
    assert json.loads((out / "run.json").read_text())["state"] == "completed"
    assert (out / "final").is_dir() and not (out / ".earlier-run").exists()


def test_a_run_that_saved_a_checkpoint_is_kept_though_it_told_of_no_start(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sft(**job)

    def saves(self: Any, run: Any) -> TrainingResult:
        self.save(run, run.events, 7)
        raise RuntimeError("after the checkpoint")

    monkeypatch.setattr(AlgorithmRegistry._backends["sft", "counting"], "train", saves)
    with pytest.raises(TrainingFailedError, match="checkpoint-7"):
        sft(**job, overwrite_output_dir=True)
    assert (job["ckpt_output_dir"] / "checkpoint-7").is_dir()
    with pytest.raises(OutputDirectoryError, match="checkpoint-7"):
        sft(**job)


def test_an_earlier_run_that_a_kill_left_aside_is_not_replaced_unasked(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = sft(**job).run_dir
    aside = out / ".earlier-run"
    aside.mkdir()
    for path in [path for path in out.iterdir() if path != aside]:
        path.rename(aside / path.name)
    with pytest.raises(OutputDirectoryError, match=r"another run \(\.earlier-run\)"):
        sft(**job)
    (out / "run.json").write_text('{"schema": 1, "state": "running"}')
    with pytest.raises(OutputDirectoryError, match=r"another run \(run\.json, \.earlier-run\)"):
        sft(**job)


def test_files_of_somebody_elses_are_no_remains_of_a_run(job: dict[str, Any]) -> None:
    logs = Path(job["ckpt_output_dir"]) / "logs"
    logs.mkdir(parents=True)
    (logs / "mine.txt").write_text("mine")
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        sft(**job)
    (logs.parent / "run.json").write_text('{"state": "completed"}')
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        sft(**job)


def on_command_line(job: dict[str, Any], *more: str) -> list[str]:
    return ["train", "sft", *(f"--{name.replace('_', '-')}={value}" for name, value in job.items()), *more]


def test_debug_shows_the_traceback_of_the_process(
    failing: dict[str, Any], worker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    worker("from helper import help_; help_()", helper="def help_():\n    raise RuntimeError('no driver')\n")
    assert main(on_command_line(failing)) == 1
    assert "help_" not in capsys.readouterr().err
    assert main(["--debug", *on_command_line(failing)]) == 1
    err = capsys.readouterr().err
    assert "helper.py" in err and "in help_" in err and "direct cause" in err


def test_debug_shows_what_a_process_printed_that_left_no_error(
    failing: dict[str, Any], worker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    worker("", "print('line 1 of 50', *['more'] * 50, sep='\\n')\nraise SystemExit(3)")
    assert main(["--debug", *on_command_line(failing)]) == 1
    err = capsys.readouterr().err
    assert "line 1 of 50" in err and "ended with exit code 3 and left no error" in err


@pytest.mark.parametrize(
    ("body", "others", "said"),
    [
        (
            "import frame",
            {"frame": "raise ImportError('torch is too old:\\n  need 3\\n  found 2')"},
            "torch is too old: need 3 found 2",
        ),
        ("import frame", {"frame": "import no_such_part"}, "No module named 'no_such_part'"),
        (
            "import frame",
            {"frame": "raise AttributeError('no attribute\\n__x__')"},
            "AttributeError: no attribute __x__",
        ),
        (
            "import frame; frame.part()",
            {
                "frame": """
                    def part():
                        try:
                            import broken
                        except Exception as error:
                            raise RuntimeError("Failed to import part\\nbecause of the following") from error
                    """,
                "broken": "raise OSError('libcudart.so: cannot open shared object file')",
            },
            "OSError: libcudart.so",
        ),
    ],
)
def test_a_framework_that_breaks_on_import_is_named_with_its_version_in_one_line(
    failing: dict[str, Any], worker: Any, body: str, others: dict[str, str], said: str
) -> None:
    worker(body, **others)
    with pytest.raises(TrainingFailedError) as raised:
        sft(**failing)
    first, log = str(raised.value).split("\n")
    assert first.startswith("pluggy 1.") and " cannot be imported: rank 0 failed: " in first and said in first
    assert log == f"log: {failing['ckpt_output_dir']}/logs/processes.log"
    assert json.loads((failing["ckpt_output_dir"] / "run.json").read_text())["cause"].startswith("pluggy 1.")


def test_a_framework_that_breaks_on_import_in_this_process(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_frame.py").write_text("raise ImportError('one\\ntwo')")
    monkeypatch.syspath_prepend(str(tmp_path))

    def train(self: Any, run: Any) -> TrainingResult:
        import broken_frame  # type: ignore[import-not-found]

        raise AssertionError(broken_frame)

    counting = AlgorithmRegistry._backends["sft", "counting"]
    monkeypatch.setattr(counting, "train", train)
    monkeypatch.setattr(counting, "framework", "pluggy")
    with pytest.raises(TrainingFailedError, match=r"^pluggy 1\S+ cannot be imported: ImportError: one two$") as raised:
        sft(**job)
    assert isinstance(raised.value.__cause__, ImportError)


def test_what_fails_otherwise_is_not_said_to_be_an_import(failing: dict[str, Any], worker: Any) -> None:
    worker("raise ImportError('this model needs: einops')")
    with pytest.raises(TrainingFailedError, match=r"^rank 0 failed: ImportError: this model needs: einops\nlog"):
        sft(**failing)


def test_a_known_cause_in_the_log_is_said_instead_of_its_last_lines(failing: dict[str, Any], worker: Any) -> None:
    line = "DistNetworkError: the server socket has failed to listen: EADDRINUSE, port: 29500"
    worker("", f"print('noise\\n' * 9, '{line}', '\\nFurther lines', sep='')\nraise SystemExit(1)")
    with pytest.raises(TrainingFailedError) as raised:
        sft(**failing)
    said, mend, log = str(raised.value).split("\n")
    assert said == f"the processes ended with exit code 1: {line}"
    assert mend.startswith("what to do: another process listens on that port")
    assert log == f"log: {failing['ckpt_output_dir']}/logs/processes.log"


def test_variables_of_a_scheduler_alone_are_no_torchrun(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, value)
    result = sft(**job)
    assert result.state == "completed"
    [warned] = [
        event["message"] for event in read_events(result.run_dir / "events.jsonl") if event["event"] == "warning"
    ]
    assert warned.startswith(
        "WORLD_SIZE=2 in the environment: no launcher has started this process, and it trains alone"
    )


@pytest.mark.parametrize("read", ["model_path", "data_path"])
def test_what_a_run_reads_is_not_replaced_by_it(job: dict[str, Any], read: str) -> None:
    out = sft(**job).run_dir
    inside = out / "final" / Path(job[read]).name
    (shutil.copytree if job[read].is_dir() else shutil.copy)(job[read], inside)
    with pytest.raises(OutputDirectoryError, match=f"{read}=.*is part of the run in ckpt_output_dir=.*give another"):
        sft(**{**job, read: inside, "overwrite_output_dir": True})
    with pytest.raises(OutputDirectoryError, match=f"{read}=.*is part of the run"):
        check_request(SFTAlgorithm.resolve({**job, read: inside, "overwrite_output_dir": True}))
    assert inside.exists() and (out / "run.json").exists()
