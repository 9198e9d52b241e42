"""Watching a run from outside."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training_hub.errors import RunFormatError, RunNotFoundError
from training_hub.reading import record, watching
from training_hub.reading.sparkline import sparkline
from training_hub.reading.watched import Watched
from training_hub.store.directory import write_json
from training_hub.store.events import EventLog


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "INTERVAL", 0.02)


def screen(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False, markup=False, emoji=False)


def shown(path: Path, terminal: bool = False) -> str:
    out = screen(terminal)
    watching.watch(path, out)
    return out.file.getvalue()


def test_a_run_that_has_ended_is_shown_once(make_run: Any) -> None:
    path = make_run()
    lines = shown(path).splitlines()
    assert lines == [
        "sft with trl: 20 rows, 3 steps",
        "warning: 2 rows are too long",
        "step 3: validation loss 1.6000",
        f"step 3: saved {path / 'final'}",
        "step 3/3  epoch 1.00  loss 1.5000  50 tok/s",
        "completed",
    ]


def test_on_a_terminal_it_is_a_picture(make_run: Any) -> None:
    text = shown(make_run("ein тест"), terminal=True)
    for part in ("ein тест", "step 3/3", "━", "█", "1.6000", "2 rows are too long", "completed"):
        assert part in text, part


@pytest.mark.parametrize("terminal", [False, True])
def test_it_follows_to_the_end(terminal: bool, make_run: Any) -> None:
    path = make_run(end=None, state="running")
    content = json.loads((path / "run.json").read_text())

    def go_on() -> None:
        log = EventLog(path / "events.jsonl")
        time.sleep(0.2)
        log.emit("warning", message="something odd")
        log.emit("step", step=4, max_steps=4, loss=0.125)
        log.emit("fail", error="ValueError", message="no")
        write_json(path / "run.json", content | {"state": "failed", "cause": "no more memory"})

    trainer = threading.Thread(target=go_on)
    trainer.start()
    text = shown(path, terminal)
    trainer.join()
    assert "something odd" in text
    assert "step 4/4" in text
    assert "0.1250" in text
    assert "failed: no more memory" in text


def test_an_end_without_a_manifest_is_an_end(make_run: Any) -> None:
    path = make_run()
    (path / "run.json").unlink()
    assert shown(path).endswith("completed\n")


def test_an_end_that_the_manifest_never_hears_of_is_an_end(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training_hub.reading.watched.PATIENCE", 0.1)
    assert "step 3/3" in shown(make_run(state="running"))


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_that_was_killed_is_said_to_be_silent(
    terminal: bool, make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(end=None, state="running")
    for name in ("run.json", "events.jsonl"):
        os.utime(path / name, (time.time() - 3600,) * 2)
    looks = iter(range(5))
    look = Watched.look

    def look_a_few_times(self: Watched, *arguments: Any) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt
        look(self, *arguments)

    monkeypatch.setattr(Watched, "look", look_a_few_times)
    out = screen(terminal)
    with pytest.raises(KeyboardInterrupt):
        watching.watch(path, out)
    text = out.file.getvalue()
    assert "no news since" in text
    if not terminal:
        assert text.count("no news since") == 1


def test_news_count_by_the_watchers_own_clock(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(end=None, state="running")

    def written_an_hour_ago_says_the_disk() -> None:
        for name in ("run.json", "events.jsonl"):
            os.utime(path / name, (time.time() - 3600,) * 2)

    written_an_hour_ago_says_the_disk()
    watched = Watched(path)
    watched.look()
    assert "(1:00:00 ago)" in (watched.silence or "")
    EventLog(path / "events.jsonl").emit("step", step=4, loss=1.0)
    written_an_hour_ago_says_the_disk()
    watched.look()
    assert watched.silence is None
    monkeypatch.setattr(record, "QUIET", 0.0)
    assert "(0:00 ago)" in (watched.silence or "")


def test_a_run_that_is_resumed_goes_back(make_run: Any) -> None:
    path = make_run(end="fail", state="running")
    log = EventLog(path / "events.jsonl")
    watched = Watched(path)
    watched.look()
    assert watched.history.ended
    log.emit("start", schema=1, resumed_from=2, max_steps=3)
    watched.look()
    assert (watched.history.ended, watched.history.reached) == (False, 2)


def test_another_run_in_the_same_place_is_followed(make_run: Any) -> None:
    path = make_run(end=None, state="running")
    watched = Watched(path)
    watched.look()
    (path / "events.jsonl").rename(path / "old")
    EventLog(path / "events.jsonl").emit("step", step=1, max_steps=7, loss=9.0)
    watched.look()
    assert list(watched.history.steps.steps) == [1]


def test_nothing_to_watch(tmp_path: Path, make_run: Any) -> None:
    with pytest.raises(RunNotFoundError):
        watching.watch(tmp_path)
    with pytest.raises(RunFormatError, match="upgrade training-hub"):
        watching.watch(make_run(schema=9))


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), ([1.0], "▁"), ([3.0, 2.0, 1.0], "█▅▁"), ([float("nan")] * 2, "  "), ([1.0, float("inf"), 2.0], "▁ █")],
)
def test_a_curve_in_a_line(values: list[float], text: str) -> None:
    assert sparkline(values, 10) == text


def test_a_long_curve_in_a_line() -> None:
    assert len(sparkline([float(n) for n in range(1000)], 10)) == 10
