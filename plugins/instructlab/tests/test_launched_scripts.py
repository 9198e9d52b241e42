"""A script that torchrun has started in several processes trains in all of them, with the losses of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training_hub.store.events import read_events

SCRIPT = Path(__file__).parents[3] / "tests" / "cpu_device" / "launched.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def test_a_script_under_torchrun_trains_with_the_losses_of_one_process(model: Path, rows: Path, tmp_path: Path) -> None:
    call = {"algorithm": "sft", "backend": "instructlab-training", "model_path": str(model), "data_path": str(rows)}
    call |= {"num_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-3, "max_seq_len": 256}
    losses = {}
    for name, launcher in {"alone": [], "launched": TORCHRUN}.items():
        out = tmp_path / name
        asked = tmp_path / f"{name}.json"
        asked.write_text(json.dumps({**call, "max_tokens_per_gpu": 512, "ckpt_output_dir": str(out)}))
        subprocess.run([sys.executable, *launcher, str(SCRIPT), str(asked)], check=True)
        losses[name] = [event["loss"] for event in read_events(out / "events.jsonl") if event["event"] == "step"]
        assert (out / "final" / "model.safetensors").is_file()
    assert losses["launched"] == pytest.approx(losses["alone"], abs=1e-4)
