"""Runs on the disk, whole and damaged."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from training_hub.errors import RunFormatError, RunNotFoundError
from training_hub.reading.record import find, glance, load
from training_hub.store.events import EventLog


def test_a_run_is_read_from_its_directory_or_a_file_of_it(make_run: Any) -> None:
    path = make_run()
    for place in (path, str(path), path / "run.json", path / "events.jsonl"):
        run = load(place)
        assert (run.algorithm, run.backend, run.state, run.history.reached) == ("sft", "trl", "completed", 3)
        assert run.manifest.given == {
            "model_path": "a model",
            "ckpt_output_dir": "out",
            "learning_rate": 1e-3,
            "neftune_noise_alpha": 5,
        }


def test_spaces_and_letters_of_any_language(make_run: Any) -> None:
    path = make_run("ein Lauf/тест 試")
    assert load(path).name == "тест 試"
    assert list(find(path.parents[1])) == [path]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="there is no such directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(RunNotFoundError, match=r"neither run\.json nor events\.jsonl"):
        load(tmp_path)


def test_a_newer_version_is_named(make_run: Any) -> None:
    path = make_run(schema=2, versions={"training-hub": "2.3.0"})
    with pytest.raises(RunFormatError, match=r"written by training-hub 2\.3\.0 \(schema 2\).*upgrade"):
        load(path)


@pytest.mark.parametrize("content", ["", '{"schema": 1, "state": "comp', "[]", "null", "\ud800"])
def test_a_damaged_manifest_leaves_what_the_events_tell(content: str, make_run: Any) -> None:
    path = make_run()
    (path / "run.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    run = load(path)
    assert str(path / "run.json") in run.damage
    assert (run.state, run.algorithm, run.history.reached) == ("completed", "sft", 3)


@pytest.mark.parametrize("name", ["run.json", "events.jsonl"])
def test_either_file_may_be_missing(name: str, make_run: Any) -> None:
    path = make_run()
    (path / name).unlink()
    run = load(path)
    assert (run.state, run.damage) == ("completed", "")


@pytest.mark.parametrize("junk", [None, 3, "text", [1], {"a": None}])
def test_parts_of_another_type_read_as_empty(junk: Any, make_run: Any) -> None:
    names = ("state", "start", "algorithm", "versions", "parameters", "further", "data", "git", "machine", "model")
    run = load(make_run(**dict.fromkeys(names, junk)))
    assert run.algorithm == ("sft" if junk != "text" else "text")
    run.manifest.given, run.manifest.versions, run.state_text()


def test_a_run_that_was_killed_is_silent(make_run: Any) -> None:
    path = make_run(end=None, state="running")
    assert load(path).state_text() == "running"
    for name in ("run.json", "events.jsonl"):
        os.utime(path / name, (time.time() - 3600,) * 2)
    assert load(path).state_text().startswith("running, no news since 2")
    assert "(1:00:00 ago)" in load(path).state_text()


def test_a_list_looks_at_the_end_of_long_events_only(make_run: Any) -> None:
    path = make_run(losses=(3.0,) * 5)
    log = EventLog(path / "events.jsonl")
    for step in range(6, 3000):
        log.emit("step", step=step, max_steps=3000, loss=1.0, framework={"text": "x" * 200})
    run = glance(path)
    assert run.history.reached == 2999
    assert len(run.history.steps) < 2000


def test_what_lies_inside_a_run_is_not_looked_at(make_run: Any, tmp_path: Path) -> None:
    inner = make_run("sweep/a")
    (inner / "checkpoint-3").mkdir()
    (inner / "checkpoint-3" / "events.jsonl").touch()
    other = make_run("sweep/b")
    (tmp_path / "sweep" / ".hidden").mkdir()
    (tmp_path / "sweep" / ".hidden" / "run.json").touch()
    assert list(find(tmp_path)) == [inner, other]


def test_a_torn_last_line_is_passed_over(make_run: Any) -> None:
    path = make_run()
    with (path / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "step", "step": 99, "loss": 0.0})[:-1])
    assert load(path).history.reached == 3
    assert glance(path).history.reached == 3
