"""A run that is killed by SIGKILL, at any moment and more than once, goes on to the end that it would have had."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cells import SHORT, Cell, here
from faulty import Found, Started, Steady

ONCE = ("training",)
AGAIN_AND_AGAIN = ("training", "start-up", "save", "end")
"""Each kill but the first strikes the run that goes on after the one before."""


@pytest.mark.parametrize(
    ("cell", "kills"),
    [
        *(pytest.param(cell, ONCE, id=f"{cell}-once") for cell in here() if cell == SHORT),
        *(pytest.param(cell, AGAIN_AND_AGAIN, id=str(cell), marks=pytest.mark.faults) for cell in here()),
    ],
)
def test_a_killed_run_goes_on_to_the_same_end(
    cell: Cell,
    kills: tuple[str, ...],
    job: dict[str, Any],
    steady: Callable[..., Steady],
    chance: random.Random,
    tried: Callable[[Cell], Any],
    tmp_path: Path,
) -> None:
    whole, found = steady(cell), Found(tmp_path / "out")
    asked = job | {"ckpt_output_dir": found.out}
    with tried(cell) as faults:
        for part in kills:
            if found.manifest.get("state") != "completed":
                fault = whole.strike(Started(cell, asked, tmp_path), part, chance)
                faults += [fault] if fault else []
        if found.manifest.get("state") != "completed":
            Started(cell, asked, tmp_path).ends_well()
        for fault in faults:
            fault.compare(found, whole.found)
    assert faults, "the run was over before it was killed"
    assert not found.left_over
