"""What training comes to in a few lines of PyTorch, in float32, without any framework: what the backend is held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

from training_hub.data import DatasetOptions, Encoded, prepare


@dataclass
class Reference:
    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)


def sides(model: Path, data: Path, split: float, seed: int = 42) -> tuple[list[Encoded], list[Encoded]]:
    """Training and validation rows as the hub makes them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    prepared = prepare(data, DatasetOptions(), tokenizer, max_seq_len=256, validation_split=split, seed=seed)
    return list(prepared.train), list(prepared.validation or ())


def summed_loss(model: torch.nn.Module, row: Encoded) -> torch.Tensor:
    """Nats over the trained tokens of a row."""
    logits = model(input_ids=torch.tensor([row.input_ids])).logits
    return cross_entropy(logits[0, :-1], torch.tensor(row.labels[1:]), ignore_index=-100, reduction="sum")


@torch.no_grad()
def mean_loss(model: torch.nn.Module, rows: Iterable[Encoded]) -> float:
    """Nats a trained token over all rows."""
    rows = list(rows)
    return sum(summed_loss(model, row).item() for row in rows) / sum(row.trained_tokens for row in rows)


def train(
    path: Path,
    train: list[Encoded],
    validation: list[Encoded],
    *,
    batch: int,
    epochs: int,
    seed: int = 42,
    **adam: float,
) -> Reference:
    """AdamW on every weight, gradients scaled to a norm of 1, cosine without warmup, a new order in each epoch."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=adam["learning_rate"],
        betas=(adam["beta1"], adam["beta2"]),
        weight_decay=adam["weight_decay"],
    )
    steps = -(-len(train) // batch)
    scheduler = get_scheduler("cosine", optimizer, num_warmup_steps=0, num_training_steps=epochs * steps)
    found, tokens = Reference(), 0
    for epoch in range(epochs):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        for start in range(0, len(train), batch):
            rows = [train[number] for number in order[start : start + batch]]
            loss = sum(summed_loss(model, row) for row in rows) / sum(row.trained_tokens for row in rows)
            loss.backward()
            tokens += sum(len(row.input_ids) for row in rows)
            found.losses.append(loss.item())
            found.tokens.append(tokens)
            found.learning_rates.append(optimizer.param_groups[0]["lr"])
            found.grad_norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        if validation:
            found.validation[(epoch + 1) * steps] = mean_loss(model, validation)
    return found
