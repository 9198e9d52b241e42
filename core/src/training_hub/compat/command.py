"""The command of the older package, which says what took its place."""

from __future__ import annotations

import sys
from typing import NoReturn

from training_hub.compat.names import absence


def main() -> NoReturn:
    """Say which command does what was asked for, and end with the exit code of a mistake in what was asked."""
    asked = next((word.replace("-", "_") for word in sys.argv[1:] if not word.startswith("-")), "")
    now = f"training-hub train {asked}" if asked else "training-hub train"
    print(absence(asked) or f"thub is now training-hub: {now}; {now} --help lists its options", file=sys.stderr)  # noqa: T201
    sys.exit(2)
