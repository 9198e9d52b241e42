"""The time of a run through the hub over that of a hand-written TRL script of the same job, and their losses.

Both train the demo's model on its rows, all in their own processes, in turn, each going first in every other pair, so
that a drift of the machine's speed hits both alike. What is compared is the time from before the model is loaded to
after it is saved: by the clock, and in seconds of the processor, which neighbours on the machine disturb less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HUB = """
import json, sys, time
from pathlib import Path
out, job = Path(sys.argv[1]), json.loads(sys.argv[2])
import torch, trl.trainer.sft_trainer, peft
from training_hub import sft
from training_hub.runs.events import read_events
start, busy = time.perf_counter(), time.process_time()
sft(model_path=job["model"], data_path=job["rows"], ckpt_output_dir=out / "run", backend="trl", num_epochs=job["epochs"],
    effective_batch_size=32, learning_rate=1e-3, max_seq_len=64)
seconds, busy = time.perf_counter() - start, time.process_time() - busy
losses = [e["loss"] for e in read_events(out / "run" / "events.jsonl") if e["event"] == "step"]
(out / "hub.json").write_text(json.dumps({"seconds": seconds, "cpu": busy, "losses": losses}))
"""
PLAIN = """
import json, sys, time
from pathlib import Path
out, job = Path(sys.argv[1]), json.loads(sys.argv[2])
import torch, peft
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import SFTConfig, SFTTrainer
from training_hub_trl.trainer import EpochOrder
start, busy = time.perf_counter(), time.process_time()
tokenizer = AutoTokenizer.from_pretrained(job["model"])
def encode(row):
    user, assistant = (message["content"] for message in row["messages"])
    prompt = tokenizer(f"<|user|>\\n{user}<|end|>\\n<|assistant|>\\n")["input_ids"]
    answer, newline = tokenizer(f"{assistant}<|end|>")["input_ids"], tokenizer("\\n")["input_ids"]
    return {"input_ids": prompt + answer + newline,
            "labels": [-100] * len(prompt) + answer + [-100] * len(newline)}
rows = [json.loads(line) for line in Path(job["rows"]).read_text().splitlines()]
data = Dataset.from_list([encode(row) for row in rows])
losses = []
class Order(EpochOrder):
    # The hub's order of rows, so that the losses can be compared step by step.
    def __iter__(self):
        yield from super().__iter__()
        self.epoch += 1
class Trainer(SFTTrainer):
    def _get_train_sampler(self, dataset=None):
        return Order(len(data), len(data), 42)
    def log(self, logs, *args, **kwargs):
        losses.extend([logs["loss"]] if "loss" in logs else [])
        super().log(logs, *args, **kwargs)
model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
config = SFTConfig(output_dir=str(out / "plain"), num_train_epochs=job["epochs"], per_device_train_batch_size=32,
    learning_rate=1e-3, lr_scheduler_type="cosine", adam_beta2=0.95, logging_steps=1, max_length=None, use_cpu=True,
    bf16=False, gradient_checkpointing=False, save_strategy="no", report_to="none", optim="adamw_torch",
    disable_tqdm=True, dataloader_pin_memory=False, dataset_kwargs={"skip_prepare_dataset": True})
trainer = Trainer(model, args=config, train_dataset=data, processing_class=tokenizer)
trainer.remove_callback(PrinterCallback)
trainer.train()
trainer.save_model(str(out / "plain"))
seconds, busy = time.perf_counter() - start, time.process_time() - busy
(out / "plain.json").write_text(json.dumps({"seconds": seconds, "cpu": busy, "losses": losses}))
"""

SIDES = (("hub", HUB), ("plain", PLAIN))


def measured(name: str, code: str, out: Path, job: str) -> dict[str, Any]:
    """Run one side in a process of its own."""
    # With compiled files kept, as they are for users.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code, str(out), job]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return found


def main() -> None:
    from training_hub_trl.demo import _words, make_model, row, write_rows

    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--pairs", type=int, default=6)
    asked = options.parse_args()
    import random

    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        make_model(base / "model")
        words = _words(random.Random(1))
        write_rows(base / "rows.jsonl", [row(next(words)) for _ in range(6000)])
        job = {"model": str(base / "model"), "rows": str(base / "rows.jsonl"), "epochs": asked.epochs}
        for name, code in SIDES:
            # So that everything is compiled, and in memory.
            (out := base / f"first-{name}").mkdir()
            measured(name, code, out, json.dumps(job | {"epochs": 1}))
        wall, cpu = [], []
        for pair in range(asked.pairs):
            out = base / str(pair)
            out.mkdir()
            found = {}
            for name, code in SIDES[:: 1 if pair % 2 else -1]:
                found[name] = measured(name, code, out, json.dumps(job))
            hub, plain = found["hub"], found["plain"]
            wall.append(hub["seconds"] / plain["seconds"])
            cpu.append(hub["cpu"] / plain["cpu"])
            largest = max(abs(a - b) for a, b in zip(hub["losses"], plain["losses"], strict=True))
            print(
                f"hub {hub['seconds']:.1f} s, hand-written {plain['seconds']:.1f} s, ratio {wall[-1]:.3f} "
                f"(of processor seconds {cpu[-1]:.3f}); {len(hub['losses'])} steps, "
                f"largest difference of a loss {largest:.1e}",
                flush=True,
            )
        print(
            f"median ratio of {asked.pairs} pairs: {statistics.median(wall):.3f} "
            f"(of processor seconds {statistics.median(cpu):.3f}); goal: at most 1.02"
        )


if __name__ == "__main__":
    main()
