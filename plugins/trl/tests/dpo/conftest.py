"""Preference pairs of a small task, and the parameters of a short run."""

import json
import random

import pytest

from training_hub import create_algorithm
from training_hub.testing.toy import write_rows


def _pairs(count, seed=0):
    rng = random.Random(seed)
    for _ in range(count):
        word = "".join(rng.choices("abcdefgh", k=rng.randint(2, 9)))
        yield {
            "prompt": [{"role": "user", "content": f"Spell {word} backwards."}],
            "chosen": [{"role": "assistant", "content": word[::-1] * rng.randint(1, 3)}],
            "rejected": [{"role": "assistant", "content": word * rng.randint(1, 3) + "?"}],
        }


@pytest.fixture(scope="session")
def made():
    """Makes pairs, with the prompt by itself, as messages; with a seed of their own."""
    return lambda count, seed=0: list(_pairs(count, seed))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """24 pairs: six steps of four."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_rows(path, _pairs(24))
    return path


@pytest.fixture
def asked(model, pairs, tmp_path):
    """A short run of `dpo`; a test adds its own."""
    return {
        "model_path": model,
        "data_path": pairs,
        "ckpt_output_dir": tmp_path / "out",
        "num_epochs": 2,
        "effective_batch_size": 6,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "max_seq_len": 128,
    }


@pytest.fixture(scope="session")
def dpo():
    """The call of the algorithm, which the hub's own have as functions."""
    return create_algorithm("dpo", "trl").train


@pytest.fixture
def written(tmp_path):
    """Writes rows into a file of their own."""
    count = iter(range(1000))

    def write(rows):
        path = tmp_path / f"rows_{next(count)}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
