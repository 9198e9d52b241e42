"""Callbacks whose classes a script defines, as it is started: called in every process that trains."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from training_hub.store.events import read_events

STARTS = """
from __future__ import annotations

import json
import sys
import dataclasses
from pathlib import Path

sys.path.insert(0, {tests!r})
from conftest import Counting

from training_hub import AlgorithmRegistry, TrainingHubCallback, TrainingHubContext, sft
from training_hub.errors import TrainingHubError
"""
CLASSES = """
LIMITS = {"step": 2}
WORD = "seen"
ran_again = print("the script runs")


def text_of(context: "TrainingHubContext") -> str:
    return f"{WORD} {context.step}"


class Ranked(TrainingHubCallback):
    run_on_all_ranks = True


@dataclasses.dataclass
class Notes(Ranked):
    word: str = ""
    seen: list = dataclasses.field(default_factory=list)

    def on_log(self, context: undefined_outside_of_type_checkers) -> None:
        self.seen.append(context.step)
        ran_again = context.step
        if ran_again == LIMITS["step"]:
            context.emit("warning", step=context.step, message=f"{self.word}: {text_of(context)}, {len(self.seen)}")


class Outer:
    class Fails(Ranked):
        def on_log(self, context):
            if context.step == 3:
                raise ZeroDivisionError("by me")
"""
RUNS = """
class Fast(Counting):
    pace, steps = 0.0, 5


AlgorithmRegistry.register_backend("sft", "fast", Fast)
try:
    sft({model!r}, {rows!r}, {out!r}, "fast", callbacks={callbacks})
except TrainingHubError as error:
    print(json.dumps([type(error).__name__, str(error), str(error.__cause__)]))
"""


@pytest.fixture
def run(model, rows, tmp_path):
    """Start a script with some classes and callbacks made of them; what it printed, and the run's warnings."""

    def start(classes, callbacks, runs=RUNS):
        script = tmp_path / "script.py"
        values = {"model": str(model), "rows": str(rows), "out": str(tmp_path / "out"), "callbacks": callbacks}
        begin = STARTS.format(tests=str(Path(__file__).parent))
        script.write_text(begin + classes + runs.format(**values))
        ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        events = tmp_path / "out" / "events.jsonl"
        told = (
            [event["message"] for event in read_events(events) if event["event"] == "warning"]
            if events.exists()
            else []
        )
        return ended.stdout.splitlines(), told

    return start


def test_several_at_once_with_what_they_need_of_the_script_which_does_not_run_again(run):
    printed, told = run(CLASSES, '[Notes("first"), Notes("second")]')
    assert printed == ["the script runs"]
    assert told == ["first: seen 2, 2", "second: seen 2, 2"]


def test_an_error_shows_the_scripts_own_line(run):
    [_, said] = run(CLASSES, "[Outer.Fails()]")[0]
    kind, message, cause = json.loads(said)
    assert (kind, "Fails.on_log raised ZeroDivisionError" in message) == ("CallbackError", True)
    line = (STARTS + CLASSES).splitlines().index('                raise ZeroDivisionError("by me")') + 1
    assert f'script.py", line {line}, in on_log' in cause and 'raise ZeroDivisionError("by me")' in cause


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (
            "if True:\n    class Mine(TrainingHubCallback):\n        run_on_all_ranks = True\n",
            "not define Mine at its top level",
        ),
        ("PATH = Path('x')\nBODY", "uses PATH, which the script computes as it runs"),
        ("PATH = {}\nPATH['a'] = 1\nBODY", "uses PATH, which the script computes"),
        ("import csv; PATH = csv\nBODY", "uses PATH, which the script computes"),
        ("import csv as PATH; print()\nBODY", "line .* has several statements"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_written(run, tmp_path, classes, said):
    body = (
        "class Mine(TrainingHubCallback):\n    run_on_all_ranks = True\n    def on_log(self, context):\n        PATH\n"
    )
    [*_, line] = run("\n" + classes.replace("BODY", body), "Mine()")[0]
    kind, message, _ = json.loads(line)
    assert kind == "ParameterError" and re.search(said, message) and "or put the class in a module" in message
    assert not (tmp_path / "out").exists()


def test_a_class_of_a_notebook_is_refused_with_the_reason(model, rows, tmp_path):
    code = (
        STARTS.format(tests=str(Path(__file__).parent))
        + CLASSES
        + RUNS.format(model=str(model), rows=str(rows), out=str(tmp_path / "out"), callbacks="Notes()")
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "a class of a notebook or of an interpreter is in no file" in ended.stdout, ended.stderr
