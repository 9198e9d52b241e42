"""What the benchmarks of whole runs have in common: the environment of a side, and the goal on a GPU."""

import os
from pathlib import Path

LEAST_ON_A_GPU = 0.99
"""Tokens a second through the hub over those of the other side."""


def environment() -> dict[str, str]:
    """Variables for a side's process."""
    # With compiled files kept, as they are for users.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent), kept.get("PYTHONPATH", "")])}


def see_one_gpu() -> None:
    """Else transformers would let the side without the hub spread each batch over all that it sees."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def exit_code_on_a_gpu(ratio: float) -> int:
    """Print the ratio of tokens a second, and give 1 where it misses the goal.

    Args:
        ratio: Seconds through the hub over those of the other side, for the same tokens.
    """
    print(f"tokens a second through the hub over the other side's: {1 / ratio:.3f}; goal: at least {LEAST_ON_A_GPU}")
    return 0 if 1 / ratio >= LEAST_ON_A_GPU else 1
