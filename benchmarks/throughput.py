"""The processor time of an epoch on mixed rows: through the hub, and by TRL's trainer with its defaults and packing.

All three train the same tokens of the same rows with the same model, in processes of their own with one thread each, one
after the other; TRL is given the tokens and labels that the hub makes. Chat rows of mixed lengths, some 450 tokens, a
third to two thirds of them trained. What is compared is the time of the processor in training (of the hub: of the whole
call, rows included) and the largest resident memory. How rows are shuffled and cut differs, the number of passes over
them does not.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HUB = """
import json, resource, sys, time
from pathlib import Path
job, out = json.loads(sys.argv[1]), Path(sys.argv[2])
import peft, torch, trl.trainer.sft_trainer
from training_hub import sft
torch.set_num_threads(1)
start = time.process_time()
result = sft(ckpt_output_dir=out / "run", backend="trl", **job)
print(json.dumps({"seconds": time.process_time() - start, "loss": result.metrics["loss"],
                  "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""
TRL = """
import json, resource, sys, time
from pathlib import Path
job, out, packing = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3] == "packing"
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
from training_hub.testing.reference import encoded
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(job["model_path"])
rows = [{"input_ids": ids, "labels": labels} for ids, labels in encoded(Path(job["data_path"]), tokenizer)]
cut = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4} if packing else {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": job["effective_batch_size"] // 8}
args = SFTConfig(output_dir=out, num_train_epochs=1, max_length=job["max_seq_len"], packing=packing, use_cpu=True,
                 bf16=False, learning_rate=job["learning_rate"], logging_steps=1, save_strategy="no", report_to=[],
                 disable_tqdm=True, **cut)
trainer = SFTTrainer(AutoModelForCausalLM.from_pretrained(job["model_path"], dtype=torch.float32), args=args,
                     train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
start = time.process_time()
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(json.dumps({"seconds": time.process_time() - start, "loss": losses[-1],
                  "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""


def make(directory: Path, rows: int, vocabulary: int) -> dict[str, Any]:
    """A model of four layers of 128, and chat rows."""
    from training_hub.testing.toy import make_model

    settings = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "max_position_embeddings": 4096}
    make_model(directory / "model", vocab_size=vocabulary, tie_word_embeddings=True, **settings)
    rng = random.Random(0)
    with (directory / "rows.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(rows):
            # A token is a character.
            length = min(1900, max(40, int(rng.lognormvariate(5.8, 0.75))))
            answer = int(length * rng.uniform(0.3, 0.65))
            texts = ["".join(rng.choices("abcdefghij ", k=count)) for count in (length - answer, answer)]
            messages = [
                {"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return {
        **{"model_path": str(directory / "model"), "data_path": str(directory / "rows.jsonl"), "num_epochs": 1},
        **{"effective_batch_size": 16, "max_seq_len": 2048, "learning_rate": 1e-4},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    asked = parser.parse_args()
    sides = {"hub": (HUB, "hub"), "TRL": (TRL, "defaults"), "TRL packing": (TRL, "packing")}
    found = {}
    with tempfile.TemporaryDirectory() as place:
        job = make(Path(place), asked.rows, asked.vocab_size)
        for name, (script, kind) in sides.items():
            ended = subprocess.run(
                [sys.executable, "-c", script, json.dumps(job), str(Path(place, name)), kind],
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[name] = json.loads(ended.stdout.splitlines()[-1])
            print(f"{name}: {found[name]['seconds']:.1f} s of the processor, {found[name]['MB']} MB", flush=True)
    hub = found["hub"]
    for name in ("TRL", "TRL packing"):
        times, share = found[name]["seconds"] / hub["seconds"], hub["MB"] / found[name]["MB"]
        print(f"{name} takes {times:.2f} times the processor time of the hub, whose memory is {share:.2f} of its")


if __name__ == "__main__":
    main()
