"""A script that a launcher may start in several processes: `launched.py CALL.json`, with its backend on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from on_cpu import where_it_can

import training_hub


def main() -> None:
    call = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with where_it_can(call["backend"], TRAINING_HUB_CPU_FLOAT32="1"):
        getattr(training_hub, call.pop("algorithm"))(**call)


if __name__ == "__main__":
    main()
