"""Writes the table of README.md from the rules; `--check` says instead whether it is out of date."""

import sys
from pathlib import Path

from training_hub.batches import BatchPlan
from training_hub.devices import Devices
from training_hub.translation_table import put
from training_hub_unsloth.rules import rules

README = Path(__file__).with_name("README.md")


def main() -> int:
    two = Devices("cuda", 2, ("GPU", "GPU"), bf16=True)
    good = put(README, rules(BatchPlan(16, 4, 2, 2), two), check="--check" in sys.argv)
    if not good and "--check" in sys.argv:
        print(f"{README} is out of date: run python {Path(__file__).name}")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
