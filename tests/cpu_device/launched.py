"""A script that a launcher may start in several processes: `launched.py CALL.json`, with its backend on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from on_cpu import where_it_can

import training_hub
from training_hub.store.events import read_events

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def losses(call: Mapping[str, Any], out: Path, *launcher: str) -> list[float]:
    """The losses of a call that this script makes, started as it is or by a launcher; it must leave a model."""
    asked = out.with_suffix(".json")
    asked.write_text(json.dumps({**call, "ckpt_output_dir": str(out)}), encoding="utf-8")
    subprocess.run([sys.executable, *launcher, __file__, str(asked)], check=True)
    assert (out / "final" / "model.safetensors").is_file()
    return [event["loss"] for event in read_events(out / "events.jsonl") if event["event"] == "step"]


def main() -> None:
    call = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with where_it_can(call["backend"], TRAINING_HUB_CPU_FLOAT32="1"):
        getattr(training_hub, call.pop("algorithm"))(**call)


if __name__ == "__main__":
    main()
