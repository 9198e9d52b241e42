"""Runs to strike, the chance that says when, and the record of what was tried and what was lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cells import FRAMEWORKS, Cell
from faulty import Fault, Steady, undisturbed

from training_hub.backends.devices import devices
from training_hub.testing.toy import conversations, make_model, write_rows

# Drawn anew each time, so that every night tries other moments; given, so that one can be tried again.
SEED = int(os.environ.get("TRAINING_HUB_FAULT_SEED") or secrets.randbelow(10**6))


def pytest_report_header() -> str:
    return f"moments of faults: TRAINING_HUB_FAULT_SEED={SEED}"


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Each test's own, so that one test alone meets the moments that it met among all."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model and the rows of every run."""
    place = tmp_path_factory.mktemp("toy")
    make_model(place / "model")
    write_rows(place / "rows.jsonl", conversations(50))
    return {"model_path": place / "model", "data_path": place / "rows.jsonl"}


@pytest.fixture(scope="session")
def steady(job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Steady]:
    """The run of a cell that nothing happens to, made when it is first asked for."""
    made: dict[str, Steady] = {}

    def make(cell: Cell, **changes: Any) -> Steady:
        key = f"{cell} {sorted(changes.items())}"
        if key not in made:
            place = tmp_path_factory.mktemp("steady")
            made[key] = undisturbed(cell, job | changes | {"ckpt_output_dir": place / "out"}, place)
        return made[key]

    return make


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[Cell], Any]:
    """A list for the faults that a run meets; they are written down at the end of the block, however it ends."""
    path = os.environ.get("TRAINING_HUB_FAULTS")

    @contextlib.contextmanager
    def of(cell: Cell) -> Iterator[list[Fault]]:
        faults: list[Fault] = []
        try:
            yield faults
        except BaseException as error:
            if faults:
                faults[-1].lost.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise
        finally:
            if path:
                _write(Path(path), [_record(cell, fault, request.node.name) for fault in faults])
        assert not [fault for fault in faults if fault.lost], "something was lost"

    return of


def _record(cell: Cell, fault: Fault, test: str) -> dict[str, Any]:
    framework = FRAMEWORKS[cell.backend]
    struck = asdict(fault)
    del struck["whole_lines"]
    return {
        **asdict(cell),
        **struck,
        "repeated": fault.repeated,
        "test": test,
        "seed": SEED,
        "framework": f"{framework} {version(framework)}",
        "torch": version("torch"),
        "device": str(devices()),
    }


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)
