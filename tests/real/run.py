"""Trains the real model on real rows, with one backend: `python run.py ENVIRONMENT DIRECTORY ROWS`.

ROWS is any dataset of conversations; those without tools that are short enough are taken. Each run is a process of its
own (`--run ALGORITHM BACKEND`), for a framework may leave its process changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cpu_device"), str(HERE.parent / "parity")]

from jobs import BACKENDS, ENVIRONMENTS

TRAINED, HELD_OUT = 24, 8
LONGEST = 900
"""Characters of a row."""
SHARED: dict[str, Any] = {
    # All rows in each step, so that no framework's order of them plays a part.
    "effective_batch_size": TRAINED,
    "num_epochs": 5,
    "max_seq_len": 512,
    "max_tokens_per_gpu": 1024,
    "warmup_steps": 1,
    "lr_scheduler": "constant_with_warmup",
}
OWN: dict[str, dict[str, Any]] = {
    "sft": {"learning_rate": 5e-5},
    "osft": {"learning_rate": 5e-5, "unfreeze_rank_ratio": 0.25},
    "lora_sft": {"learning_rate": 1e-3, "lora_r": 8, "target_modules": ["q_proj", "v_proj"], "save_merged_model": True},
}

IN_FLOAT32 = ("instructlab-training",)
"""Backends whose framework holds the weights in float32 only where it computes in bfloat16, from which the stand-in for
CUDA keeps it: there they train a copy of the model in float32."""


def write_rows(dataset: Path, directory: Path) -> None:
    """Part short conversations of a dataset into those to train on and those to measure with."""
    from training_hub.data import DatasetOptions, convert, detect, read_rows

    chosen = []
    for row in read_rows(dataset):
        assert isinstance(row.value, dict)
        plain = {key: value for key, value in row.value.items() if key != "tools"}
        options = DatasetOptions()
        example = convert(plain, detect(plain, options), options)
        messages = [{key: message[key] for key in ("role", "content")} for message in example.messages]
        if any(message["role"] == "tool" or not message["content"] for message in messages):
            continue
        if sum(len(message["content"]) for message in messages) <= LONGEST:
            chosen.append({"messages": messages})
    needed = TRAINED + HELD_OUT
    if len(chosen) < needed:
        raise SystemExit(f"{dataset}: {len(chosen)} conversations of at most {LONGEST} characters; {needed} are needed")
    for name, part in (("rows", chosen[:TRAINED]), ("held_out", chosen[TRAINED:needed])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def in_float32(model: Path, copy: Path) -> Path:
    """The same model, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(model, dtype="float32").save_pretrained(copy)
    AutoTokenizer.from_pretrained(model).save_pretrained(copy)
    return copy


def run(algorithm: str, backend: str, environment: str, directory: Path) -> None:
    """Train once, and write down what came of it."""
    from on_cpu import where_it_can

    import training_hub
    from training_hub.backends.devices import devices
    from training_hub.store.events import read_events

    out = directory / environment / f"{algorithm}-{backend}"
    base = model = directory / "model"
    if backend in IN_FLOAT32 and devices().kind == "cpu":
        base = in_float32(model, directory / "model-float32")
    with where_it_can(backend, TRAINING_HUB_CPU_FLOAT32="1"):
        result = getattr(training_hub, algorithm)(
            model_path=base,
            data_path=directory / "rows.jsonl",
            ckpt_output_dir=out,
            backend=backend,
            overwrite_output_dir=True,
            **SHARED,
            **OWN[algorithm],
        )
    events = list(read_events(out / "events.jsonl"))
    trained = str(result.merged_checkpoint or result.checkpoint)
    outcome = out / "measured.json"
    measuring = [sys.executable, str(HERE / "measure.py"), str(model), str(directory / "held_out.jsonl"), str(outcome)]
    subprocess.run([*measuring, str(model), trained], check=True)
    measured = json.loads(outcome.read_text(encoding="utf-8"))
    found = {
        "algorithm": algorithm,
        "backend": backend,
        "device": str(devices()),
        "losses": [event["loss"] for event in events if event["event"] == "step"],
        "seconds": events[-1]["time"] - events[0]["time"],
        "before": measured[str(model)],
        "after": measured[trained],
    }
    (directory / f"{environment}-{algorithm}-{backend}.json").write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    environment, directory = sys.argv[1], Path(sys.argv[2]).absolute()
    if "--run" in sys.argv:
        run(*sys.argv[-2:], environment, directory)
        return
    directory.mkdir(parents=True, exist_ok=True)
    for older in directory.glob(f"{environment}-*.json"):
        older.unlink()
    if not (directory / "model" / "config.json").exists():
        subprocess.run([sys.executable, str(HERE / "model.py"), str(directory / "model")], check=True)
    write_rows(Path(sys.argv[3]), directory)
    for algorithm, carriers in BACKENDS.items():
        for backend in ENVIRONMENTS[environment]:
            if backend in carriers and (backend != "trl" or environment == "trl"):
                command = [sys.executable, __file__, environment, str(directory), "--run", algorithm, backend]
                # Unsloth leaves its compiled modules where it is called.
                with tempfile.TemporaryDirectory() as place:
                    subprocess.run(command, check=True, cwd=place, env=dict(os.environ))


if __name__ == "__main__":
    main()
