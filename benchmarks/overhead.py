"""The time of a run through the hub over that of a hand-written TRL script of the same job, and their losses.

Both train the demo's model on its rows, in processes of their own. On a CPU the two of a pair run at the same time, with
one thread on one core each, and change cores from pair to pair, so that neighbours and a drift of the machine's speed
hit both alike; on a GPU they run in turn. On a CPU the hub lets malloc keep the memory of freed tensors, which the script
does not: `--keep-memory` sets it for both. What is compared is the time from before the model is loaded to after it is
saved.

Both train the same tokens, so the ratio of seconds is the inverse of that of tokens a second. On a GPU it exits with 1
where the hub's tokens a second are fewer than 0.99 of the script's.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sides import environment, exit_code_on_a_gpu, see_one_gpu

from training_hub_trl.memory import KEPT, LARGEST

HUB = """
import json, sys, time
from pathlib import Path
out, job = Path(sys.argv[1]), json.loads(sys.argv[2])
import torch, trl.trainer.sft_trainer, peft
from training_hub import sft
from training_hub.store.events import read_events
start = time.perf_counter()
sft(ckpt_output_dir=out / "run", backend="trl", **job["asked"])
seconds = time.perf_counter() - start
losses = [e["loss"] for e in read_events(out / "run" / "events.jsonl") if e["event"] == "step"]
(out / "hub.json").write_text(json.dumps({"seconds": seconds, "losses": losses}))
"""
PLAIN = """
import json, sys, time
from pathlib import Path
out, job = Path(sys.argv[1]), json.loads(sys.argv[2])
import torch, peft
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import SFTConfig, SFTTrainer
from hub_order import Order
start = time.perf_counter()
asked = job["asked"]
tokenizer = AutoTokenizer.from_pretrained(asked["model_path"])
def encode(row):
    user, assistant = (message["content"] for message in row["messages"])
    prompt = tokenizer(f"<|user|>\\n{user}<|end|>\\n<|assistant|>\\n")["input_ids"]
    answer, newline = tokenizer(f"{assistant}<|end|>")["input_ids"], tokenizer("\\n")["input_ids"]
    return {"input_ids": prompt + answer + newline,
            "labels": [-100] * len(prompt) + answer + [-100] * len(newline)}
rows = [json.loads(line) for line in Path(asked["data_path"]).read_text().splitlines()]
data = Dataset.from_list([encode(row) for row in rows])
losses = []
class Trainer(SFTTrainer):
    def _get_train_sampler(self, dataset=None):
        return Order(len(data), len(data), 42)
    def log(self, logs, *args, **kwargs):
        losses.extend([logs["loss"]] if "loss" in logs else [])
        super().log(logs, *args, **kwargs)
model = AutoModelForCausalLM.from_pretrained(asked["model_path"], dtype=torch.float32)
config = SFTConfig(output_dir=str(out / "plain"), num_train_epochs=asked["num_epochs"], per_device_train_batch_size=32,
    learning_rate=1e-3, lr_scheduler_type="cosine", adam_beta2=0.95, logging_steps=1, max_length=None,
    save_strategy="no", report_to="none", disable_tqdm=True, dataset_kwargs={"skip_prepare_dataset": True},
    **job["for_device"])
trainer = Trainer(model, args=config, train_dataset=data, processing_class=tokenizer)
trainer.remove_callback(PrinterCallback)
trainer.train()
trainer.save_model(str(out / "plain"))
seconds = time.perf_counter() - start
(out / "plain.json").write_text(json.dumps({"seconds": seconds, "losses": losses}))
"""

KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(LARGEST), "MALLOC_TRIM_THRESHOLD_": str(KEPT)}
SIDES = {"hub": HUB, "plain": PLAIN}
FOR_DEVICE = (
    "use_cpu",
    "bf16",
    "optim",
    "activation_checkpointing",
    "gradient_checkpointing",
    "dataloader_pin_memory",
)
"""Arguments of SFTConfig that the hub chooses by the machine."""


def chosen_for_device(asked: dict[str, Any]) -> dict[str, Any]:
    """What the hub chooses here, so that both sides do the same work."""
    from training_hub import create_algorithm

    algorithm = create_algorithm("sft", "trl")
    parameters = algorithm.resolve(asked | {"ckpt_output_dir": "out"})
    given = algorithm.backend.translate(parameters).arguments["SFTConfig"]
    return {name: given[name] for name in FOR_DEVICE if name in given}


def started(name: str, out: Path, job: dict[str, Any], core: int | None) -> subprocess.Popen[bytes]:
    """One side in a process of its own, on one core or on all."""
    variables = environment() | (KEEPS_MEMORY if job["keep_memory"] else {})
    command = [sys.executable, "-c", SIDES[name], str(out), json.dumps(job)]
    if core is not None:
        variables["OMP_NUM_THREADS"] = "1"
        command = ["taskset", "--cpu-list", str(core), *command]
    return subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measured(names: list[str], out: Path, job: dict[str, Any], cores: list[int] | None) -> dict[str, dict[str, Any]]:
    """What each side found, all at once with a core each, or in turn."""
    out.mkdir()
    running = []
    for place, name in enumerate(names):
        running.append(started(name, out, job, cores[place] if cores else None))
        if cores is None:
            running[-1].wait()
    if any(process.wait() for process in running):
        raise SystemExit(f"{' or '.join(names)} failed; to see why, run it alone")
    return {name: json.loads((out / f"{name}.json").read_text()) for name in names}


def main() -> int:
    from training_hub.plugin import devices
    from training_hub.testing.toy import make_model, write_rows
    from training_hub_trl.demo import _words, row

    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=7)
    options.add_argument("--pairs", type=int, default=6)
    options.add_argument("--hidden-size", type=int, default=64, help="of the model; the demo's has 64")
    options.add_argument(
        "--keep-memory",
        action="store_true",
        help="let malloc keep freed memory on both sides, not on the hub's alone: what is left is the hub's own cost",
    )
    asked = options.parse_args()
    on_a_gpu = devices().kind == "cuda"
    if on_a_gpu:
        see_one_gpu()
    cores = None if on_a_gpu else sorted(os.sched_getaffinity(0))[:2]
    if cores and len(cores) < 2:
        raise SystemExit("it takes two cores, one for each side")

    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        make_model(base / "model", hidden_size=asked.hidden_size, intermediate_size=2 * asked.hidden_size)
        words = _words(random.Random(1))
        write_rows(base / "rows.jsonl", [row(next(words)) for _ in range(6000)])
        parameters: dict[str, Any] = {
            "model_path": str(base / "model"),
            "data_path": str(base / "rows.jsonl"),
            "num_epochs": asked.epochs,
            "effective_batch_size": 32,
            "learning_rate": 1e-3,
            "max_seq_len": 64,
        }
        chosen = chosen_for_device(parameters)
        job = {"asked": parameters, "for_device": chosen, "keep_memory": asked.keep_memory}
        # So that everything is compiled, and in memory.
        measured(list(SIDES), base / "first", job | {"asked": parameters | {"num_epochs": 1}}, cores)
        ratios: list[float] = []
        for pair in range(asked.pairs):
            found = measured(list(SIDES)[:: 1 if pair % 2 else -1], base / str(pair), job, cores)
            hub, plain = found["hub"], found["plain"]
            ratios.append(hub["seconds"] / plain["seconds"])
            largest = max(abs(a - b) for a, b in zip(hub["losses"], plain["losses"], strict=True))
            print(
                f"hub {hub['seconds']:.1f} s, hand-written {plain['seconds']:.1f} s, ratio {ratios[-1]:.3f}; "
                f"{len(hub['losses'])} steps, largest difference of a loss {largest:.1e}",
                flush=True,
            )
        error = statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
        mean = statistics.fmean(ratios)
        print(
            f"mean ratio of {asked.pairs} pairs: {mean:.3f} (standard error {error:.3f}), "
            f"median {statistics.median(ratios):.3f}; goal: at most 1.02, on a GPU 1 / 0.99"
        )
    return exit_code_on_a_gpu(mean) if on_a_gpu else 0


if __name__ == "__main__":
    sys.exit(main())
