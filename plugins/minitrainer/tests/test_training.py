"""mini-trainer really trains, in one process and in two, and what it saves is loaded by transformers alone."""

from __future__ import annotations

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from minitrainer_runs import backend_on_cpu, events, free_port, losses, mean_loss, row_losses, summed_loss
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

from training_hub import create_algorithm, osft, sft
from training_hub.errors import ModelError, ParameterError

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make

RATIO = 0.25


@pytest.fixture(scope="module")
def trained(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """OSFT in one process, with all rows in each step, as the framework computes: in bfloat16."""
    out = tmp_path_factory.mktemp("osft") / "out"
    with backend_on_cpu():
        result = osft(
            model_path=model,
            data_path=rows,
            ckpt_output_dir=out,
            unfreeze_rank_ratio=RATIO,
            num_epochs=6,
            effective_batch_size=16,
            learning_rate=2e-3,
            max_seq_len=128,
            backend="mini-trainer",
        )
    return result, out


def test_the_loss_falls_from_that_of_the_base_model_to_that_of_the_checkpoint(
    trained: tuple[Any, Path], model: Path
) -> None:
    result, out = trained
    found, data = losses(out), out / "data" / "train.jsonl"
    assert len(found) == 6
    assert found[0] == pytest.approx(mean_loss(model, data), abs=5e-3)
    assert found[-1] < found[0] - 0.2
    assert mean_loss(result.checkpoint, data) < found[-1]


def test_the_checkpoint_is_the_base_models_directory_with_new_weights(trained: tuple[Any, Path], model: Path) -> None:
    result, out = trained
    assert result.checkpoint == out / "final"
    assert {path.name for path in result.checkpoint.iterdir()} == {path.name for path in model.iterdir()}
    before, after = (json.loads((path / "config.json").read_text()) for path in (model, result.checkpoint))
    assert {name: after[name] for name in before} == before
    assert AutoModelForCausalLM.from_pretrained(result.checkpoint).generation_config.top_k == 7
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(model).chat_template


def test_what_the_weights_hold_most_of_stays_as_it_was(trained: tuple[Any, Path], model: Path) -> None:
    """All linear layers of a Llama are decomposed, though the framework would choose an OPT's by the model's path."""
    result, _ = trained
    before, after = (load_file(path / "model.safetensors") for path in (model, result.checkpoint))
    decomposed = [name for name in before if name.endswith("_proj.weight")]
    assert len(decomposed) == 14
    for name in decomposed:
        old, change = before[name].double(), after[name].double() - before[name].double()
        left, _, right = torch.linalg.svd(old, full_matrices=False)
        rank = math.floor(min(old.shape) * (1 - RATIO))
        protected = max((left[:, :rank].T @ change).norm(), (change @ right[:rank].T).norm())
        assert change.norm() > 0.01
        assert protected / change.norm() < 1e-4
    # All other weights are trained freely.
    assert all((after[name] - before[name]).norm() > 1e-3 for name in before)


def test_the_figures_have_the_hubs_names_and_come_live(trained: tuple[Any, Path]) -> None:
    result, out = trained
    [start] = events(out, "start")
    assert (start["rows"], start["max_steps"], start["num_epochs"], start["world_size"]) == (16, 6, 6, 1)
    assert (start["algorithm"], start["backend"], start["effective_batch_size"]) == ("osft", "mini-trainer", 16)
    steps = events(out, "step")
    lengths = [json.loads(line)["len"] for line in (out / "data" / "train.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step["epoch"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step["tokens"] for step in steps] == [sum(lengths) * n for n in range(1, 7)]
    assert steps[0]["learning_rate"] == 2e-3
    assert all(step["grad_norm"] > 0 and step["tokens_per_second"] > 0 for step in steps)
    for step in steps:
        logged = json.loads(
            (out / "logs/mini-trainer/training_metrics_0.jsonl").read_text().splitlines()[step["step"] - 1]
        )
        assert step["loss"] == logged["loss"]
    assert {"loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "epoch", "step", "seconds"} <= set(
        result.metrics
    )
    assert result.metrics["loss"] == steps[-1]["loss"]


def test_nothing_of_the_framework_is_left_outside_the_logs(trained: tuple[Any, Path]) -> None:
    _, out = trained
    hubs = {"data", "events.jsonl", "final", "hf_format", "logs", "run.json", "training_metrics_0.jsonl"}
    assert {path.name for path in out.iterdir()} == hubs | {"training_params.json"}
    assert {path.name for path in (out / "data").iterdir()} == {"train.jsonl"}


def test_a_steps_loss_is_the_mean_over_all_trained_tokens_of_exactly_its_rows(job: dict[str, Any], model: Path) -> None:
    """Ragged rows, several micro-batches, an incomplete last step, and weights that stand still.

    The two processes are on two nodes that share a disk.
    """
    out = job["ckpt_output_dir"]
    asked = job | {
        "effective_batch_size": 5,
        "learning_rate": 1e-12,
        "max_seq_len": 70,
        "max_tokens_per_gpu": 70,
        "validation_split": 0.15,
        "seed": 7,
        "nnodes": 2,
        "rdzv_endpoint": f"127.0.0.1:{free_port()}",
    }
    with backend_on_cpu(float32=True), ThreadPoolExecutor(1) as elsewhere:
        second = elsewhere.submit(sft, **asked, node_rank=1)
        first = sft(**asked)
    assert first.checkpoint == out / "final"
    assert second.result().checkpoint is None
    measured = row_losses(model, out / "data" / "train.jsonl")
    assert len(measured) == 13
    expected = []
    for epoch in range(2):
        order = torch.randperm(13, generator=torch.Generator().manual_seed(7 + epoch)).tolist()
        for start in (0, 5, 10):
            of_step = [measured[row] for row in order[start : start + 5]]
            expected.append(sum(total for total, _ in of_step) / sum(count for _, count in of_step))
    assert losses(out) == pytest.approx(expected, abs=1e-5)
    assert max(step["framework"]["grad_accum"] for step in events(out, "step")) > 1
    # Once an epoch, as nothing else was said, and over all tokens of the three rows held back.
    validation = mean_loss(model, out / "data" / "validation.jsonl")
    found = [(event["step"], event["validation_loss"]) for event in events(out, "eval")]
    assert found == [(3, pytest.approx(validation, abs=1e-5)), (6, pytest.approx(validation, abs=1e-5))]
    assert "NO_SHARD" not in (out / "logs" / "processes.log").read_text()


def test_the_best_checkpoint_is_kept_and_older_ones_go(job: dict[str, Any], cpu: None) -> None:
    """The learning rate is so high at first that the validation loss has its minimum before the end."""
    out = job["ckpt_output_dir"]
    result = create_algorithm("sft", backend_name="mini-trainer").train(
        **{name: value for name, value in job.items() if name != "backend"}
        | {"learning_rate": 0.1, "lr_scheduler": "constant"},
        validation_split=0.25,
        validation_frequency=1,
        save_best_val_loss=True,
        checkpoint_at_epoch=True,
        keep_last_checkpoint_only=True,
    )
    found = {event["step"]: event["validation_loss"] for event in events(out, "eval")}
    best = min(found, key=lambda step: found[step])
    assert sorted(found) == [1, 2, 3, 4]
    assert best < 4
    assert {path.name for path in out.glob("checkpoint-*")} == {f"checkpoint-{best}", "checkpoint-4"}
    assert mean_loss(out / f"checkpoint-{best}", out / "data" / "validation.jsonl") == pytest.approx(
        found[best], abs=0.02
    )
    assert result.checkpoint == out / "final"
    final, last = (load_file(path / "model.safetensors") for path in (out / "final", out / "checkpoint-4"))
    assert all(torch.equal(final[name], last[name]) for name in final)
    saved = [Path(event["checkpoint"]).name for event in events(out, "save")]
    assert saved[-1] == "final"
    assert result.metrics["validation_loss"] == found[4]


def test_with_a_ratio_of_one_all_weights_are_trained_whole_by_adamw(job: dict[str, Any], model: Path) -> None:
    """The framework itself would silently take a ratio of one half. Held against a loop of plain PyTorch."""
    chosen = {"beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.2, "warmup_steps": 2}
    out = job["ckpt_output_dir"]
    with backend_on_cpu(float32=True):
        result = osft(**job | {"num_epochs": 5, "effective_batch_size": 16}, **chosen, unfreeze_rank_ratio=1)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-3, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.2, foreach=False
    )
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=2, num_training_steps=5)
    rows = [json.loads(line) for line in (out / "data" / "train.jsonl").read_text().splitlines()]
    expected, norms = [], []
    for _ in range(5):
        loss = summed_loss(network, rows) / sum(label != -100 for row in rows for label in row["labels"])
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0).item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert losses(out) == pytest.approx(expected, abs=1e-5)
    assert [step["grad_norm"] for step in events(out, "step")] == pytest.approx(norms, abs=1e-4)
    saved = load_file(result.checkpoint / "model.safetensors")
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(saved[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ratio", [RATIO, 1])
def test_a_pattern_that_matches_nothing_is_refused_with_the_models_names(
    ratio: float, job: dict[str, Any], cpu: None
) -> None:
    with pytest.raises(ParameterError, match=r"'mlp.up_porj'.*did you mean 'mlp.up_proj'.*self_attn.q_proj"):
        osft(**job, unfreeze_rank_ratio=ratio, target_patterns=["q_proj", "mlp.up_porj"])
    assert not job["ckpt_output_dir"].exists()


def test_a_value_that_the_framework_would_not_take_is_refused_before_anything_is_written(
    job: dict[str, Any], cpu: None
) -> None:
    with pytest.raises(ParameterError, match="train_dtype: expected 'float16'.*got 'banana'"):
        sft(**job, train_dtype="banana")
    assert not job["ckpt_output_dir"].exists()


@pytest.mark.parametrize(("name", "said"), [("gemma2", "Gemma2ForCausalLM"), ("mamba", "MambaForCausalLM")])
@pytest.mark.parametrize("algorithm", [sft, osft])
def test_a_model_without_the_attention_that_the_framework_asks_for_is_told_of_before_it_starts(
    algorithm: Any, name: str, said: str, rows: Path, tmp_path: Path, cpu: None
) -> None:
    make(name, tmp_path / name)
    asked = {"num_epochs": 1, "effective_batch_size": 8, "max_tokens_per_gpu": 512, "max_seq_len": 128}
    own = {"unfreeze_rank_ratio": 0.5} if algorithm is osft else {}
    with pytest.raises(ModelError, match=f"the attention of PyTorch, which {said} has not"):
        algorithm(
            model_path=tmp_path / name,
            data_path=rows,
            ckpt_output_dir=tmp_path / "out",
            backend="mini-trainer",
            learning_rate=1e-3,
            **asked,
            **own,
        )
