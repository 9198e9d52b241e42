"""Runs the parity table's cells of one environment: `python run_cells.py ENVIRONMENT DIRECTORY [--short]`.

Each cell is a process of its own (`--cell NAME`), for a framework may leave its process changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cpu_device")]

from jobs import ENVIRONMENTS, FIRST, GOALS, ON_A_GPU, ROWS, Cell, cells


def make_inputs(directory: Path) -> None:
    """The model and rows, the same in every environment."""
    from training_hub.testing.toy import conversations, make_model, write_rows

    if not (directory / "model").exists():
        make_model(directory / "model")
        for name, count in ROWS.items():
            write_rows(directory / f"{name}.jsonl", conversations(count))


def run(cell: Cell, directory: Path, environment: str) -> None:
    """Train, and write down the losses and what transformers alone makes of the checkpoint."""
    from on_cpu import where_it_can

    import training_hub
    from training_hub.backends.devices import devices
    from training_hub.plugins import discovery
    from training_hub.store.events import read_events
    from training_hub.testing.reference import measure_apart

    out = directory / environment / cell.name
    rows = directory / f"{cell.rows}.jsonl"
    with where_it_can(cell.backend, TRAINING_HUB_CPU_FLOAT32="1"):
        result = getattr(training_hub, cell.algorithm)(
            model_path=directory / "model", data_path=rows, ckpt_output_dir=out, **cell.parameters()
        )
    framework = str(discovery.load(cell.backend).backends[cell.backend].framework)
    losses = [event["loss"] for event in read_events(out / "events.jsonl") if event["event"] == "step"]
    measured = measure_apart(directory / "model", rows, [directory / "model", result.checkpoint], out)
    found = {
        "algorithm": cell.algorithm,
        "backend": cell.backend,
        "processes": cell.processes,
        "rows": cell.rows,
        "environment": environment,
        "framework": f"{framework} {version(framework)}",
        "device": str(devices()),
        "goal": GOALS[cell.algorithm] if devices().kind == "cpu" else ON_A_GPU,
        "goal_first": FIRST if devices().kind == "cpu" else ON_A_GPU,
        "losses": losses,
        "base": measured[directory / "model"]["loss"],
        "reloaded": measured[result.checkpoint]["loss"],
    }
    (directory / f"{environment}-{cell.name}.json").write_text(json.dumps(found))


def main() -> None:
    from training_hub.backends.devices import devices

    environment, directory = sys.argv[1], Path(sys.argv[2]).absolute()
    asked = cells(ENVIRONMENTS[environment], short="--short" in sys.argv)
    if "--cell" in sys.argv:
        [cell] = [cell for cell in asked if cell.name == sys.argv[-1]]
        run(cell, directory, environment)
        return
    directory.mkdir(parents=True, exist_ok=True)
    # Whatever fails now must not leave an older run's figures to be judged.
    shutil.rmtree(directory / environment, ignore_errors=True)
    for older in directory.glob(f"{environment}-*.json"):
        older.unlink()
    make_inputs(directory)
    on_gpus = devices().kind == "cuda"
    flags = ["--short"] if "--short" in sys.argv else []

    def carry_out(cell: Cell) -> None:
        if on_gpus and cell.processes > devices().count:
            print(f"{cell.name}: left out, there is {devices()}", flush=True)  # noqa: T201
            return
        print(cell.name, flush=True)  # noqa: T201
        command = [sys.executable, __file__, environment, str(directory), *flags, "--cell", cell.name]
        # Processes of several threads each would stand in each other's way.
        alone = {} if on_gpus else {"OMP_NUM_THREADS": "1"}
        # Unsloth leaves its compiled modules where it is called.
        with tempfile.TemporaryDirectory() as place:
            subprocess.run(command, check=True, cwd=place, env=os.environ | alone)

    with ThreadPoolExecutor(1 if on_gpus else 2) as pool:
        list(pool.map(carry_out, asked))


if __name__ == "__main__":
    main()
