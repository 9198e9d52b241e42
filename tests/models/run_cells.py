"""Trains the table of architectures in one environment: `python run_cells.py ENVIRONMENT DIRECTORY [--short]`.

Each architecture is trained twice, with one row and with four in a forward pass; the second time from the same weights
in bfloat16. What is wrong is written down by cell, and `report.py` judges.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cpu_device")]

from architectures import make
from cells import ENVIRONMENTS, LOGITS, LOSS, Cell, cells

AT_ONCE = 2
HALF = {"instructlab-training": "float32"}
"""The second base's precision, where it is not bfloat16: accelerate holds that in float32 only where it computes in
bfloat16, which the stand-in for CUDA keeps it from, as losses would differ by rounding."""


def make_bases(name: str, directory: Path) -> dict[str, Path]:
    """The same weights in float32 and in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    found = {kind: directory / f"base-{name.replace(' ', '_')}-{kind}" for kind in ("float32", "bfloat16")}
    if not found["bfloat16"].exists():
        make(name, found["float32"])
        model = AutoModelForCausalLM.from_pretrained(found["float32"], dtype=torch.bfloat16)
        shutil.copytree(found["float32"], found["bfloat16"])
        model.save_pretrained(found["bfloat16"])
        model.to(torch.float32).save_pretrained(found["float32"])
    return found


def tensors(directory: Path) -> dict[str, str]:
    """Names in the files of a saved model, with precision and shape."""
    from safetensors import safe_open

    found = {}
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                tensor = weights.get_slice(name)
                found[name] = f"{tensor.get_dtype()} {tensor.get_shape()}"
    return found


def unlike(base: Path, saved: Path) -> list[str]:
    """What of a saved model is not as in its base."""
    found = []
    before, after = tensors(base), tensors(saved)
    for said, names in (("lacks", before.keys() - after.keys()), ("adds", after.keys() - before.keys())):
        if names:
            found.append(f"{said} {', '.join(sorted(names)[:3])}{' and more' if len(names) > 3 else ''}")
    other = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    if other:
        found.append(f"{other[0]} is {after[other[0]]}, in the base {before[other[0]]}")
    one, two = (json.loads((path / "config.json").read_text(encoding="utf-8")) for path in (base, saved))
    changed = sorted(key for key in one.keys() | two.keys() if one.get(key, "none") != two.get(key, "none"))
    if changed:
        found.append(
            "config: " + ", ".join(f"{key} {one.get(key, 'none')!r} -> {two.get(key, 'none')!r}" for key in changed)
        )
    return found


def load(directory: Path) -> tuple[Any, list[str]]:
    """A saved model by transformers alone, and what was wrong with it."""
    import torch
    from transformers import AutoModelForCausalLM

    by_name: Any = AutoModelForCausalLM.from_pretrained
    model, report = by_name(directory, dtype=torch.float32, output_loading_info=True)
    wrong = [f"reloaded: {kind} {sorted(map(str, names))[:3]}" for kind, names in report.items() if names]
    return model.eval(), wrong


def tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def logits(model: Any, examples: list[tuple[list[int], list[int]]]) -> Any:
    import torch

    with torch.no_grad():
        return torch.cat([model(torch.tensor([ids]), use_cache=False).logits[0].float() for ids, _ in examples[:3]])


def entropy(model: Any, examples: list[tuple[list[int], list[int]]]) -> float:
    """Cross-entropy over the trained tokens, a row at a time."""
    import torch

    total, count = 0.0, 0
    for ids, labels in examples:
        targets = torch.tensor(labels[1:])
        with torch.no_grad():
            found = model(torch.tensor([ids]), use_cache=False).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(found, targets, reduction="sum").item()
        count += int((targets != -100).sum())
    return total / count


def trained(cell: Cell, base: Path, rows: Path, out: Path, micro_batch: int) -> tuple[Any, list[float]]:
    """One run, and its losses."""
    from on_cpu import where_it_can

    import training_hub
    from training_hub.store.events import read_events

    with where_it_can(cell.backend, TRAINING_HUB_CPU_FLOAT32="1", NUMBA_DISABLE_JIT="1"):
        result = getattr(training_hub, cell.algorithm)(
            model_path=base, data_path=rows, ckpt_output_dir=out, **cell.parameters(micro_batch)
        )
    return result, [event["loss"] for event in read_events(out / "events.jsonl") if event["event"] == "step"]


def judge(cell: Cell, bases: dict[str, Path], rows: Path, out: Path) -> dict[str, Any]:
    """Train a cell, and say what is wrong."""
    from transformers import AutoTokenizer

    from training_hub.testing.reference import encoded

    examples = encoded(rows, AutoTokenizer.from_pretrained(bases["float32"]))
    original, _ = load(bases["float32"])
    found: dict[str, Any] = {"base": entropy(original, examples), "wrong": []}
    wrong = found["wrong"]
    kinds = ("float32", HALF.get(cell.backend, "bfloat16"))
    runs = [trained(cell, bases[kind], rows, out / str(size), size) for kind, size in zip(kinds, (1, 4), strict=True)]
    one, four = (losses for _, losses in runs)
    found["first"] = abs(one[0] - found["base"])
    found["micro_batch"] = max(abs(a - b) for a, b in zip(one, four, strict=True))
    if found["first"] > LOSS:
        wrong.append(f"first loss {one[0]:.5f}, apart {found['base']:.5f}")
    if found["micro_batch"] > LOSS:
        wrong.append(f"losses differ by {found['micro_batch']:.1e} between micro-batches")
    if not one[-1] < one[0]:
        wrong.append(f"the loss does not fall: {one[0]:.5f} to {one[-1]:.5f}")
    for kind, (result, _) in zip(kinds, runs, strict=True):
        saved = Path(result.merged_checkpoint if cell.algorithm == "lora_sft" else result.checkpoint)
        reloaded, problems = load(saved)
        problems += unlike(bases[kind], saved)
        if tied(reloaded) != tied(original):
            problems.append("tied, and its base is not" if tied(reloaded) else "no longer tied")
        wrong += [f"{kind}: {problem}" for problem in problems]
        live = result.get("model")
        if live is None and cell.algorithm == "lora_sft":
            from peft import PeftModel

            live = PeftModel.from_pretrained(load(bases[kind])[0], result.checkpoint)
        if live is not None and kind == "float32":
            found["live"] = float((logits(live.float().eval(), examples) - logits(reloaded, examples)).abs().max())
            if found["live"] > LOGITS:
                wrong.append(f"what is saved differs from the live model by {found['live']:.1e}")
    return found


def run(cell: Cell, directory: Path, rows: Path) -> None:
    """Train a cell, and write down what came of it."""
    from training_hub.errors import UserError
    from training_hub.plugins import discovery

    found: dict[str, Any] = {"architecture": cell.architecture, "algorithm": cell.algorithm, "backend": cell.backend}
    framework = str(discovery.load(cell.backend).backends[cell.backend].framework)
    found["framework"] = f"{framework} {version(framework)}"
    found["transformers"] = version("transformers")
    out = directory / "runs" / cell.name
    try:
        found |= judge(cell, make_bases(cell.architecture, directory), rows, out)
        found["verdict"] = "differs" if found["wrong"] else "exact"
    except UserError as error:
        found |= {"verdict": "refused", "wrong": [" ".join(str(error).split())]}
    except Exception as error:
        found |= {"verdict": "failed", "wrong": [f"{type(error).__name__}: {' '.join(str(error).split())}"]}
    shutil.rmtree(out, ignore_errors=True)
    (directory / f"{cell.name}.json").write_text(json.dumps(found), encoding="utf-8")
    print(cell.name, found["verdict"], *found["wrong"][:2], flush=True)  # noqa: T201


def main() -> None:
    backend, directory = ENVIRONMENTS[sys.argv[1]], Path(sys.argv[2]).absolute()
    short = "--short" in sys.argv
    asked = cells(backend, short=short)
    rows = directory / "rows.jsonl"
    if "--only" in sys.argv:
        names = sys.argv[sys.argv.index("--only") + 1].split(",")
        for cell in asked:
            if cell.architecture in names:
                run(cell, directory, rows)
        return
    from training_hub.testing.toy import conversations, write_rows

    directory.mkdir(parents=True, exist_ok=True)
    # Whatever fails now must not leave an older run's figures to be judged.
    for older in directory.glob(f"{backend}-*.json"):
        older.unlink()
    write_rows(rows, conversations(8))
    names = list(dict.fromkeys(cell.architecture for cell in asked))
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, __file__, sys.argv[1], str(directory), *(["--short"] if short else [])]
        # Processes of several threads each would stand in each other's way.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen([*command, "--only", ",".join(names[part::AT_ONCE])], cwd=place, env=environment)
            for part in range(AT_ONCE)
        ]
        codes = [process.wait() for process in started]
    if any(codes):
        sys.exit("a process of the table ended before its cells were done")


if __name__ == "__main__":
    main()
