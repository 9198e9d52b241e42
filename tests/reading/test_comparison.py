"""What runs differ in."""

from __future__ import annotations

import json
import math
from typing import Any

from training_hub.reading import as_data
from training_hub.reading.comparison import compare
from training_hub.reading.record import load


def parameters(**values: Any) -> dict[str, Any]:
    return {name: {"value": value, "origin": "call"} for name, value in values.items()}


def test_only_what_differs_is_shown(make_run: Any) -> None:
    one = make_run("a", parameters=parameters(learning_rate=1e-3, seed=1, ckpt_output_dir="a"), git={"commit": "x"})
    other = make_run(
        "b",
        parameters=parameters(learning_rate=2e-3, seed=1, ckpt_output_dir="b", lora_r=8),
        versions={"training-hub": "1.0.0", "trl": "1.17.0", "torch": "2.13.0+cpu"},
        further={},
    )
    found = compare([load(one), load(other)])
    assert found.parameters == {
        "learning_rate": [1e-3, 2e-3],
        "neftune_noise_alpha": [5, None],
        "lora_r": [None, 8],
    }
    assert found.versions == {"trl": ["1.16.0", "1.17.0"]}
    assert found.circumstances == {"git.commit": ["x", None]}


def test_losses_stand_beside_each_other(make_run: Any) -> None:
    long = make_run("long", losses=tuple(float(n) for n in range(100, 0, -1)))
    short = make_run("short", losses=(9.0, 8.0))
    found = compare([load(long), load(short)], rows=5)
    assert found.steps == [1, 2, 26, 50, 75, 100] or len(found.steps) <= 7
    assert found.losses[0] == [100.0, 9.0]
    assert found.losses[found.steps.index(2)] == [99.0, 8.0]
    assert found.losses[-1] == [1.0, None]
    assert found.outcomes["last loss"] == [1.0, 8.0]
    assert found.outcomes["steps"] == [100, 2]


def test_the_same_run_twice_differs_in_nothing(make_run: Any) -> None:
    run = load(make_run())
    found = compare([run, run])
    assert not (found.parameters or found.versions or found.circumstances)


def test_runs_without_a_step_can_be_compared(make_run: Any) -> None:
    run = load(make_run(losses=(), end="fail", state="failed"))
    assert compare([run, run]).steps == []


def test_json_has_no_numbers_that_json_does_not_know(make_run: Any) -> None:
    run = load(make_run(losses=(2.0, math.nan, math.inf)))
    for data in (as_data.details(run), as_data.compared(compare([run, run]))):
        assert json.loads(json.dumps(data, allow_nan=False, default=str))
    assert as_data.details(run)["training"]["loss"] == [2.0, None, None]
