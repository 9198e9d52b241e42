"""A toy model, ragged rows, and where a run's figures are read from."""

import json
import os
import random
import subprocess
import sys

import pytest

from training_hub.plugin import read_events
from training_hub.testing.toy import make_model

# One thread, so that a process alone and one of two do the same sums in the same order.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "model"
    make_model(path)
    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """Ragged conversations of one or two turns."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w") as stream:
        for number in range(50):
            word = "".join(rng.choices("abcdefgh", k=rng.randint(2, 9)))
            turns = [(f"Spell {word} backwards.", word[::-1])]
            turns += [("Again.", word[::-1] * rng.randint(1, 4))] * (number % 3 == 0)
            messages = [
                {"role": role, "content": text}
                for turn in turns
                for role, text in zip(("user", "assistant"), turn, strict=True)
            ]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture
def job(model, rows, tmp_path):
    """A run with all rows in each step; a test adds its own."""
    return {
        "model_path": str(model),
        "data_path": str(rows),
        "ckpt_output_dir": str(tmp_path / "out"),
        "backend": "unsloth",
        "num_epochs": 6,
        "effective_batch_size": 50,
        "learning_rate": 5e-3,
        "max_seq_len": 128,
    }


@pytest.fixture(scope="session")
def events():
    return lambda directory, kind: [e for e in read_events(directory / "events.jsonl") if e["event"] == kind]


@pytest.fixture(scope="session")
def losses(events):
    """The losses of a result, step by step."""
    return lambda result: [event["loss"] for event in events(result.run_dir, "step")]


@pytest.fixture(scope="session")
def by_itself(tmp_path_factory):
    """Runs lines of Python in a process of its own, and returns what they print last, read as JSON."""

    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*lines):
        ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=elsewhere)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])

    return run
