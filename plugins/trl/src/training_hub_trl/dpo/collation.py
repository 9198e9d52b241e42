"""Pairs as the batch of a forward pass, and what of it only fills up."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference


class PairCollator(DataCollatorForPreference):
    """TRL's, which also says how many pairs a batch has and how many of them are real; those come first."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        # Behind the tensors: transformers takes the length of the first entry for the batch's.
        return {
            **super().torch_call(examples),
            "rows": len(examples),
            "pairs": sum(example["real"] for example in examples),
        }


def without_filling(inputs: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A batch for the model, without the pairs that only fill up, and how many are left that count.

    Where none is left that counts one of the others stays, for each process must take part in each pass.
    """
    inputs = dict(inputs)
    rows, pairs = inputs.pop("rows"), inputs.pop("pairs")
    if pairs < rows:
        keep = max(pairs, 1)
        # Sequences are all the chosen ones and then all the rejected ones; the reference's figures are one a pair.
        inputs = {name: torch.cat([half[:keep] for half in tensor.split(rows)]) for name, tensor in inputs.items()}
    return inputs, pairs
