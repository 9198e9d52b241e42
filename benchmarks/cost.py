"""The time of a run through the hub over that of the framework called directly, and how far their losses are apart.

`python benchmarks/cost.py instructlab|minitrainer|unsloth`, in that plugin's environment: `nox -s cost`.

Each side is one script, timed from outside as a user sees it: from the start of Python to its end, imports and saving
included. The direct one calls the framework's own function, with the arguments that the hub's translation gives and on
rows that are tokens already; the hub's side makes them anew each time. On a machine without a GPU the frameworks that
need one train on the CPU, with the tests' stand-in for CUDA on both sides.

Both train the same tokens, so the ratio of seconds is the inverse of that of tokens a second. On a GPU it exits with 1
where the hub's tokens a second are fewer than 0.99 of the framework's; give it epochs enough that the start is a small
part.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sides import environment, exit_code_on_a_gpu, see_one_gpu

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cpu_device"))

HUB = """
import contextlib, json, sys
import training_hub
algorithm, stand_in, given = json.loads(sys.argv[1])
if stand_in is not None:
    from on_cpu import on_cpu
with contextlib.nullcontext() if stand_in is None else on_cpu(given["backend"], **stand_in):
    getattr(training_hub, algorithm)(**given)
"""
INSTRUCTLAB = """
import json, sys
from instructlab.training import TorchrunArgs, TrainingArgs, run_training
out, rows, given = json.loads(sys.argv[1])
given = given["TrainingArgs"] | {"ckpt_output_dir": out, "save_samples": 0, "checkpoint_at_epoch": True}
torchrun = TorchrunArgs(nproc_per_node=1, nnodes=1, node_rank=0, rdzv_id=1)
run_training(torchrun, TrainingArgs(**given))
"""
MINI_TRAINER = """
import json, sys
from mini_trainer import TorchrunArgs, TrainingArgs, run_training
out, rows, given = json.loads(sys.argv[1])
run_training(TorchrunArgs(), TrainingArgs(**given["TrainingArgs"] | {"output_dir": out}))
"""
UNSLOTH = """
import json, sys
import unsloth
import torch
from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel
from hub_order import Order
class Trainer(SFTTrainer):
    def _get_train_sampler(self, dataset=None):
        return Order(len(data), len(data), 42)
out, rows, given = json.loads(sys.argv[1])
loading = {"load_in_4bit": False} | given["from_pretrained"]
loading["dtype"] = getattr(torch, loading["dtype"])
model, _ = FastLanguageModel.from_pretrained(**loading)
adapter = {name: value for name, value in given["get_peft_model"].items() if value is not None}
model = FastLanguageModel.get_peft_model(model, **adapter)
tokenizer = AutoTokenizer.from_pretrained(loading["model_name"])
config = SFTConfig(**given["SFTConfig"] | {"output_dir": out})
data = Dataset.from_file(rows)
trainer = Trainer(model, args=config, train_dataset=data, processing_class=tokenizer)
trainer.remove_callback(PrinterCallback)
trainer.train()
trainer.save_model(out)
trainer.save_state()
"""
PLUGINS = {
    "instructlab": ("instructlab-training", "sft", INSTRUCTLAB, {"accelerate_full_state_at_epoch": False}),
    "minitrainer": ("mini-trainer", "sft", MINI_TRAINER, {"accelerate_full_state_at_epoch": False}),
    # Its steps are short: so many that training takes more than 30 s on a CPU.
    "unsloth": ("unsloth", "lora_sft", UNSLOTH, {"num_epochs": 4}),
}


def timed(code: str, *given: Any) -> float:
    """Seconds that a script takes."""
    variables = environment()
    # The frameworks look for torchrun there.
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    command = [sys.executable, "-c", code, json.dumps(given)]
    before = time.perf_counter()
    subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - before


def own_part(algorithm: str, given: dict[str, Any]) -> float:
    """Seconds that the hub itself takes before anything is started: parameters, translation, checks, manifest."""
    from training_hub import create_algorithm
    from training_hub.execution.manifest import manifest
    from training_hub.preflight.request import check_request

    before = time.perf_counter()
    made = create_algorithm(algorithm, given["backend"])
    parameters = made.resolve({name: value for name, value in given.items() if name != "backend"})
    manifest(made.backend, parameters, made.backend.translate(parameters), check_request(parameters))
    return time.perf_counter() - before


def measure(
    plugin: str, stand_in: dict[str, str] | None, base: Path, *, rows: int, epochs: int | None, pairs: int
) -> float:
    """Print the ratio of each pair, their median, and the hub's own part.

    Returns:
        The median ratio.
    """
    from training_hub.reading.curves import run_curves
    from training_hub.testing.toy import conversations, make_model, write_rows

    backend, algorithm, direct, own = PLUGINS[plugin]
    make_model(base / "model")
    write_rows(base / "rows.jsonl", conversations(rows))
    given = {
        "model_path": str(base / "model"),
        "data_path": str(base / "rows.jsonl"),
        "data_output_dir": str(base / "data"),
        "backend": backend,
        "num_epochs": 1,
        "effective_batch_size": 16,
        "learning_rate": 1e-3,
        "max_seq_len": 256,
        **own,
        **({"num_epochs": epochs} if epochs else {}),
    }

    def hub(out: Path) -> float:
        return timed(HUB, algorithm, stand_in, given | {"ckpt_output_dir": str(out)})

    hub(base / "first")
    arguments = json.loads((base / "first" / "run.json").read_text())["arguments"]

    def directly(out: Path) -> float:
        return timed(direct, str(out), str(base / "data" / "train.arrow"), arguments)

    ratios = []
    for pair in range(pairs):
        sides = (("hub", hub), ("direct", directly))[:: 1 if pair % 2 else -1]
        seconds = {name: side(base / f"{pair}-{name}") for name, side in sides}
        ratios.append(seconds["hub"] / seconds["direct"])
        one, other = run_curves([base / f"{pair}-hub", base / f"{pair}-direct"], labels=["hub", "direct"])
        apart = max(abs(a - b) for (_, a), (_, b) in zip(one.training, other.training, strict=True))
        print(
            f"hub {seconds['hub']:.1f} s, direct {seconds['direct']:.1f} s, ratio {ratios[-1]:.3f}; "
            f"{len(one.training)} steps, largest difference of a loss {apart:.1e}",
            flush=True,
        )
    median = statistics.median(ratios)
    print(f"{backend}: median ratio of {pairs} pairs {median:.3f}; goal: at most 1.02, on a GPU 1 / 0.99")
    before = own_part(algorithm, given | {"ckpt_output_dir": str(base / "none")})
    print(f"{backend}: the hub's own part before the start {before:.2f} s; goal: under 1 s")
    return median


def main() -> int:
    from on_cpu import on_cpu

    from training_hub.backends.devices import devices

    options = argparse.ArgumentParser()
    options.add_argument("plugin", choices=sorted(PLUGINS))
    options.add_argument("--rows", type=int, default=4000)
    options.add_argument("--epochs", type=int, help="by default 1, and 4 for unsloth")
    options.add_argument("--pairs", type=int, default=3)
    asked = options.parse_args()
    on_a_gpu = devices().kind == "cuda"
    if on_a_gpu:
        see_one_gpu()
    needs = asked.plugin != "unsloth" and not on_a_gpu
    variables = {"TESTING": "true", "NUMBA_DISABLE_JIT": "1"} if asked.plugin == "minitrainer" else {}
    with (
        tempfile.TemporaryDirectory() as directory,
        on_cpu(PLUGINS[asked.plugin][0], **variables) if needs else contextlib.nullcontext(),
    ):
        ratio = measure(
            asked.plugin,
            variables if needs else None,
            Path(directory),
            rows=asked.rows,
            epochs=asked.epochs,
            pairs=asked.pairs,
        )
    return exit_code_on_a_gpu(ratio) if on_a_gpu else 0


if __name__ == "__main__":
    sys.exit(main())
