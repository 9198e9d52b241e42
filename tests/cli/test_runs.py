"""`training-hub runs`, `watch`, `plot` and `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training_hub.cli import main
from training_hub.store.events import EventLog


def make_run(path: Path, *, start: float = 1000.0, rate: float = 1e-3, **parts: Any) -> Path:
    path.mkdir(parents=True)
    log = EventLog(path / "events.jsonl")
    log.emit("start", schema=1, algorithm="sft", backend="trl", rows=20, max_steps=2)
    for step in (1, 2):
        log.emit("step", step=step, max_steps=2, epoch=step / 2, loss=4.0 - step, tokens=9 * step)
    log.emit("eval", step=2, validation_loss=2.25)
    log.emit("end", state="completed", metrics={})
    manifest = {
        "schema": 1,
        "state": "completed",
        "start": start,
        "algorithm": "sft",
        "backend": "trl",
        "versions": {"training-hub": "1.0.0"},
        "parameters": {"learning_rate": {"value": rate, "origin": "call"}, "seed": {"value": 1, "origin": "default"}},
    }
    (path / "run.json").write_text(json.dumps(manifest | parts))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path / "sweep" / "älter [b]", start=1000.0),
        make_run(tmp_path / "sweep" / "newer", start=2000.0, rate=2e-3),
    ]


def out_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_runs_are_listed_newest_first(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = out_of(capsys, "runs", "list", tmp_path, runs[0]).splitlines()
    assert len(lines) == 3
    assert [str(runs[1]) in lines[1], str(runs[0]) in lines[2]] == [True, True]
    for part in ("completed", "sft", "trl", "2/2", "2.0000", "2.2500"):
        assert part in lines[1]
    listed = json.loads(out_of(capsys, "runs", "list", tmp_path, "--json"))
    assert [entry["path"] for entry in listed] == [str(runs[1]), str(runs[0])]
    assert listed[0]["loss"] == 2.0


def test_here_is_where_runs_are_looked_for(
    runs: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs[0].parent)
    assert "newer" in out_of(capsys, "runs", "list")


def test_one_bad_run_spoils_no_list(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "future", schema=7, versions={"training-hub": "3.0.0"})
    (runs[0] / "run.json").write_text('{"schema": 1, "sta')
    assert main(["runs", "list", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "unreadable" in said.out
    assert "training-hub 3.0.0 (schema 7)" in said.err
    assert "is damaged" in said.err
    entries = json.loads(out_of(capsys, "runs", "list", tmp_path, "--json"))
    assert [entry["path"] for entry in entries if entry["problem"]] == [str(runs[0]), str(tmp_path / "future")]


def test_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "runs", "list", tmp_path) == f"no runs in {tmp_path}\n"
    assert out_of(capsys, "runs", "list", tmp_path, "--json") == "[]\n"


def test_a_run_is_shown(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "runs", "show", runs[0])
    for part in (str(runs[0]), "completed", "3.0000 at first, 2.0000 at last", "learning_rate", "training-hub"):
        assert part in text
    assert "seed" not in text
    data = json.loads(out_of(capsys, "runs", "show", runs[0], "--json"))
    assert data["training"]["loss"] == [3.0, 2.0]
    assert data["manifest"]["parameters"]["seed"]["value"] == 1


def test_a_failed_run_is_shown_with_its_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run(tmp_path / "run", state="failed", cause="no more memory")
    assert "no more memory" in out_of(capsys, "runs", "show", path)


def test_only_what_differs_is_compared(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = out_of(capsys, "runs", "compare", *runs)
    rows = [line.split() for line in text.splitlines()]
    assert ["learning_rate", "0.001", "0.002"] in rows
    assert ["1", "3.0000", "3.0000"] in rows
    assert "seed" not in text
    assert "versions" not in text
    data = json.loads(out_of(capsys, "runs", "compare", *runs, "--json"))
    assert data["parameters"] == {"learning_rate": [1e-3, 2e-3]}
    assert data["losses"] == {"step": [1, 2], "loss": [[3.0, 3.0], [2.0, 2.0]]}
    assert "same parameters" in out_of(capsys, "runs", "compare", runs[0], runs[0])


def test_watching_a_run_that_has_ended(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "watch", runs[0]).endswith("completed\n")


def test_a_plot(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "a plot.svg"
    options = ["--output", target, "--against", "tokens", "--ema", "0.5", "--label", "first", "--label", "second"]
    assert out_of(capsys, "plot", *runs, *options) == f"{target}\n"
    assert "second, validation" in target.read_text()


def test_a_report(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "report", runs[0]) == f"{runs[0] / 'report.html'}\n"
    assert out_of(capsys, "report", runs[0], "--output", tmp_path / "r.html") == f"{tmp_path / 'r.html'}\n"
    assert "älter [b]" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["runs", "show"], ["runs", "compare"], ["watch"], ["plot"], ["report"]])
def test_what_is_no_run_and_what_is_newer_are_mistakes(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == ["plot"]:
        pytest.importorskip("matplotlib")
    assert main([*command, str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    newer = make_run(tmp_path / "future", schema=7, versions={"training-hub": "3.0.0"})
    assert main([*command, str(newer)]) == 2
    assert "pip install --upgrade training-hub" in capsys.readouterr().err


def test_a_place_that_is_not_there_has_no_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", str(tmp_path / "nowhere")]) == 2
    assert "no such directory" in capsys.readouterr().err
