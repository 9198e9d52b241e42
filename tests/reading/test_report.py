"""The page about a run."""

from __future__ import annotations

import ast
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from training_hub.errors import OutputDirectoryError
from training_hub.reading.chart import SMALL, Line, chart, ticks
from training_hub.reading.record import load
from training_hub.reading.report import page, write_report
from training_hub.reading.reproduction import call
from training_hub.store.events import EventLog

EMPTY = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that every element is closed; gathers text and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def seen(path: Path) -> str:
    return " ".join(" ".join(Page(page(load(path))).text).split())


def test_it_has_what_a_reader_asks_for(make_run: Any) -> None:
    path = make_run(git={"commit": "4f2a9d1", "dirty": True}, machine={"host": "node-3"})
    log = EventLog(path / "events.jsonl")
    log.emit("samples", step=0, samples=[{"prompt": "Say a.", "completion": "b"}])
    log.emit("samples", step=2, samples=[{"prompt": "Say a.", "completion": "c"}])
    log.emit("samples", step=3, samples=[{"prompt": "Say a.", "completion": "a"}])
    text = seen(path)
    for part in (
        "sft with trl",
        "a model",
        "3/3",
        "1.6000",
        "2 rows are too long",
        "Loss, nats a token",
        "Learning rate",
        "Say a. at step 0 b at step 3 a",
        "learning_rate 0.001 file run.yaml:3",
        "1 at their defaults",
        "pip install training-hub==1.0.0 trl==1.16.0 torch==2.13.0 ",
        "learning_rate=0.001",
        "sha256 abc",
        "commit 4f2a9d1, with changes",
        "node-3",
    ):
        assert part in text, part


def test_it_needs_nothing_besides(make_run: Any) -> None:
    text = page(load(make_run()))
    found = Page(text)
    assert not found.tags & {"script", "link", "img", "iframe", "object"}
    assert not [name for name, _ in found.attributes if name in ("src", "href") or name.startswith("on")]
    assert "http" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


NASTY = "</style><script>alert('&\"')</script>"


def test_nothing_of_a_run_becomes_markup(make_run: Any) -> None:
    path = make_run(
        "a<b>&'\"",
        state=NASTY,
        cause=NASTY,
        algorithm=NASTY,
        backend=NASTY,
        backend_choice=NASTY,
        versions={NASTY: NASTY},
        parameters={NASTY: {"value": NASTY, "origin": NASTY}, "seed": {"value": {NASTY: 1}, "origin": "default"}},
        further={NASTY: [NASTY]},
        git={NASTY: NASTY},
        model={"path": NASTY},
        checkpoint=NASTY,
    )
    log = EventLog(path / "events.jsonl")
    log.emit("warning", message=NASTY)
    log.emit("stop", step=NASTY, reason=NASTY)
    log.emit("save", step=NASTY, checkpoint=NASTY)
    log.emit("samples", step=NASTY, samples=[{"prompt": NASTY, "completion": NASTY}, {"prompt": None}, 3])
    found = Page(page(load(path)))
    assert "script" not in found.tags
    assert all(NASTY not in (value or "") for name, value in found.attributes if name == "class")


def test_what_is_known_of_a_run_without_a_manifest_or_a_step(make_run: Any) -> None:
    path = make_run(losses=(), end="fail")
    (path / "run.json").write_text("{")
    text = seen(path)
    assert "failed" in text
    assert "is damaged" in text
    (path / "events.jsonl").unlink()
    (path / "run.json").write_text("{}")
    assert "unknown" in seen(path)


def test_losses_that_are_no_numbers_are_said(make_run: Any) -> None:
    path = make_run(losses=(2.0, math.nan, 1.0, math.inf))
    assert "from step 2 on there are losses that are no numbers" in seen(path)


def test_the_call_can_be_carried_out(make_run: Any) -> None:
    manifest = load(make_run(further={"a-b": 1, "class": "x", "neftune": None, "path": "it's"})).manifest
    tree = ast.parse(call(manifest))
    (made,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    values = {word.arg: ast.literal_eval(word.value) for word in made.keywords}
    assert values[None] == {"a-b": 1, "class": "x"}
    assert values["path"] == "it's"
    assert values["learning_rate"] == 1e-3
    assert values["backend"] == "trl"
    assert "seed" not in values


def test_an_algorithm_of_a_plugin_is_called_through_its_class(make_run: Any) -> None:
    assert 'create_algorithm("dpo").train(' in call(load(make_run(algorithm="dpo")).manifest)
    assert call(load(make_run("b", algorithm="d p o")).manifest) == ""


def test_it_is_written_where_one_says(make_run: Any, tmp_path: Path) -> None:
    path = make_run("ein тест")
    log = EventLog(path / "events.jsonl")
    log.emit("warning", message="half a letter \ud83d")
    assert write_report(path) == path / "report.html"
    other = write_report(path, tmp_path / "new" / "r.html")
    assert other.read_text(encoding="utf-8") == (path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(OutputDirectoryError, match="cannot be written"):
        write_report(path, path / "run.json" / "r.html")


def test_curves_have_gaps_where_there_is_no_number() -> None:
    svg = chart("t", [Line("loss", [(1, 1.0), (2, 2.0), (3, math.nan), (4, 1.0), (5, 1.0)], "training")], "step", SMALL)
    path = re.search(r'<path class="training" d="([^"]*)"', svg)
    assert path
    assert re.sub(r"[\d. ]", "", path.group(1)) == "MLML"


@pytest.mark.parametrize(
    "values", [[1.0], [0.0, 0.0], [1e300, -1e300], [1e-300, 2e-300], [1.0, 1.0 + 1e-16], [5e15, 5e15]]
)
def test_curves_of_any_extent_can_be_drawn(values: list[float]) -> None:
    svg = chart("t", [Line("loss", list(enumerate(values)), "training")], "step", SMALL)
    assert "nan" not in svg
    assert "inf" not in svg


def test_nothing_to_draw_is_no_chart() -> None:
    assert chart("t", [Line("loss", [(1, math.nan)], "training")], "step", SMALL) == ""


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (2.4, 5.6, [3, 4, 5]), (0, 0.003, [0, 0.001, 0.002, 0.003])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_manifest_is_as_short_as_it_may_be(make_run: Any) -> None:
    path = make_run()
    (path / "run.json").write_text(json.dumps({"schema": 1}))
    assert "pip install" not in seen(path)
