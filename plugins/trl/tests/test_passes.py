"""How a step's rows are cut into passes, and which logits are made, changes no loss; only what it costs."""

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub import lora_sft, sft
from training_hub_trl.passes import cut, parts, tokens_worth_a_pass
from training_hub_trl.scoring import TrainedPositions

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 2000), st.integers(0, 400))
def test_each_row_is_in_one_pass_and_no_pass_is_over_the_limit(lengths, limit, worth):
    passes = cut(lengths, limit=limit, worth=worth)
    assert sorted(row for rows in passes for row in rows) == list(range(len(lengths)))
    for rows in passes:
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or len(rows) * longest <= limit
        assert all(longest - lengths[row] <= worth for row in rows)


@given(LENGTHS)
def test_rows_that_are_alike_share_passes_and_others_do_not(lengths):
    assert len(cut(lengths, limit=10**9, worth=10**9)) == 1
    assert len(cut(lengths, limit=10**9, worth=0)) == len(set(lengths))


def test_parts_are_the_rows_without_what_fills_them_up():
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]])
    batch = {"input_ids": torch.arange(12).reshape(3, 4), "labels": torch.arange(12).reshape(3, 4) * 2}
    found = list(parts({**batch, "attention_mask": mask}, limit=100, worth=1))
    assert [part["input_ids"].tolist() for part in found] == [[[4, 5, 6, 7]], [[8, 9], [0, 1]]]
    assert [part["attention_mask"].tolist() for part in found] == [[[1, 1, 1, 1]], [[1, 1], [1, 0]]]


def test_a_pass_is_worth_more_tokens_of_a_smaller_model(tmp_path):
    make("llama", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    worth = tokens_worth_a_pass(model, torch.device("cpu"))
    assert worth > 100
    assert tokens_worth_a_pass(model, torch.device("cuda")) > worth


@pytest.mark.parametrize(
    "name", ["llama tied", "gemma2", "granite", "gpt2", "bloom", "mamba", "qwen3_moe", "falcon_h1"]
)
@torch.no_grad()
def test_the_loss_is_that_of_all_logits_whatever_follows_a_row(name, tmp_path):
    make(name, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 90, (2, 24), generator=generator)
    labels = torch.where(torch.rand(2, 24, generator=generator) < 0.4, tokens, -100)
    labels[1, 15:] = -100
    whole = sum(
        torch.nn.functional.cross_entropy(
            model(tokens[row, :length][None]).logits[0, :-1].float(), labels[row, 1:length], reduction="sum"
        )
        for row, length in ((0, 24), (1, 15))
    )
    made = []
    head = model.get_output_embeddings()
    positions = TrainedPositions(model)
    head.register_forward_hook(lambda head, given, logits: made.append(logits.shape[:-1].numel()))
    found = positions.score(model, {"input_ids": tokens, "labels": labels})
    count = int((labels[:, 1:] != -100).sum())
    assert found.loss == pytest.approx(float(whole), rel=1e-5)
    assert (found.count, made) == (count, [count])
    # Whoever calls the model otherwise gets all its logits.
    assert model(tokens).logits.shape[:2] == tokens.shape


@pytest.mark.parametrize(("algorithm", "own"), [(sft, {}), (lora_sft, {"lora_r": 4})])
def test_losses_do_not_depend_on_the_tokens_of_a_pass(algorithm, own, job, losses, tmp_path):
    found = []
    for limit in (128, 512, 4096):
        out = tmp_path / str(limit)
        algorithm(**{**job, **own, "max_tokens_per_gpu": limit, "ckpt_output_dir": out, "validation_split": 0.2})
        found.append(losses(out))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0] == pytest.approx(found[2], abs=1e-5)


def test_accuracy_and_entropy_are_those_of_the_trained_tokens(job, model, rows, events, masked, tmp_path):
    whole = {**job, "effective_batch_size": 50, "num_epochs": 1, "learning_rate": 1e-9}
    sft(**whole)
    sft(**{**whole, "max_tokens_per_gpu": 4096, "ckpt_output_dir": tmp_path / "two", "nproc_per_node": 2})
    base, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        AutoTokenizer.from_pretrained(model),
    )
    likely, targets = [], []
    for line in rows.read_text().splitlines():
        tokens, labels = (torch.tensor(part) for part in masked(json.loads(line)["messages"], tokenizer))
        trained = labels[1:] != -100
        with torch.no_grad():
            likely.append(base(tokens[None]).logits[0, :-1][trained].log_softmax(-1))
        targets.append(labels[1:][trained])
    found, wanted = torch.cat(likely), torch.cat(targets)
    expected = {
        "entropy": float(-(found.exp() * found).sum(-1).mean()),
        "mean_token_accuracy": float((found.argmax(-1) == wanted).float().mean()),
    }
    for out in (job["ckpt_output_dir"], tmp_path / "two"):
        [step] = events(out, "step")
        for name, value in expected.items():
            assert step["framework"][name] == pytest.approx(value, rel=1e-4, abs=1e-6)
        assert step["framework"]["num_tokens"] == step["tokens"]
