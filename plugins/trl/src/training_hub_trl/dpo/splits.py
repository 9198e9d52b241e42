"""Pairs as the trainer takes them: tokens in Arrow files, filled up where several processes need as many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase, TrainingArguments

from training_hub.plugin import EventLog, Job
from training_hub_trl.dpo.pair import EncodedPair
from training_hub_trl.dpo.preference import PreferenceFormat
from training_hub_trl.splits import Splits, lengths, open_rows

_TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")
SCHEMA = pa.schema([*((name, pa.large_list(pa.int32())) for name in _TOKENS), ("real", pa.bool_())])


@dataclass(frozen=True)
class PairSplits(Splits):
    """Training and validation pairs."""

    chosen_tokens: Sequence[int] = ()
    """Tokens of each real training pair's chosen answer."""
    validation_tokens: int = 0
    """Tokens of the chosen answers of all validation pairs."""


def make_splits(job: Job, tokenizer: PreTrainedTokenizerBase, events: EventLog, args: TrainingArguments) -> PairSplits:
    """Turn the rows into tokens.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    train, validation = open_rows(
        job, tokenizer, events, args, schema=SCHEMA, columns=_columns, row_formats=[PreferenceFormat()]
    )
    prompts, chosen, rejected = (lengths(train, name) for name in _TOKENS)
    tokens = [2 * prompt + one + other for prompt, one, other in zip(prompts, chosen, rejected, strict=True)]
    filled = _fill(train, args.per_device_train_batch_size, args.world_size)
    if validation is None:
        return PairSplits(filled, tokens, chosen_tokens=chosen)
    return PairSplits(
        filled,
        tokens,
        _fill(validation, args.per_device_eval_batch_size, args.world_size),
        len(validation),
        chosen_tokens=chosen,
        validation_tokens=sum(lengths(validation, "chosen_ids")),
    )


def _columns(rows: Sequence[EncodedPair]) -> dict[str, list[Any]]:
    tokens = {name: [getattr(row, name) for row in rows] for name in _TOKENS}
    return {**tokens, "real": [True] * len(rows)}


def _fill(pairs: Dataset, batch: int, world_size: int) -> Dataset:
    """With copies of a pair that do not count, so that each process has as many batches; alone one needs none.

    A pair without tokens would have a loss that is no number.
    """
    missing = -len(pairs) % (batch * world_size) if world_size > 1 else 0
    if not missing:
        return pairs
    copies = [{**pairs[0], "real": False}] * missing
    return concatenate_datasets([pairs, Dataset.from_list(copies, features=pairs.features)])
