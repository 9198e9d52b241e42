"""Rows of supervised fine-tuning: tokens and labels, made by the hub; packed where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, pack_dataset

from training_hub.plugin import Encoded, EventLog, Job
from training_hub_trl.splits import Splits, lengths, open_rows

SCHEMA = pa.schema([("input_ids", pa.large_list(pa.int32())), ("labels", pa.large_list(pa.int32()))])


def make_splits(job: Job, tokenizer: PreTrainedTokenizerBase, events: EventLog, args: SFTConfig) -> Splits:
    """Turn the rows into tokens and labels.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    train, validation = open_rows(job, tokenizer, events, args, schema=SCHEMA, columns=_columns)
    if args.packing:
        with args.main_process_first(desc="packing"):
            train = pack_dataset(train, args.max_length, args.packing_strategy, {"keep_in_memory": True})
    tokens = lengths(train, "input_ids")
    filled = _fill(train, args.per_device_train_batch_size, args.world_size)
    if validation is None:
        return Splits(filled, tokens, packed=args.packing)
    trained = sum(label != -100 for labels in validation["labels"] for label in labels)
    held_out = _fill(validation, args.per_device_eval_batch_size, args.world_size)
    return Splits(filled, tokens, held_out, trained, args.packing)


def _columns(rows: Sequence[Encoded]) -> dict[str, list[Any]]:
    return {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}


def _fill(dataset: Dataset, batch: int, world_size: int) -> Dataset:
    """With rows of no trained token, so that each process has the same number of batches; alone one needs none."""
    missing = -len(dataset) % (batch * world_size) if world_size > 1 else 0
    if not missing:
        return dataset
    token = dataset[0]["input_ids"][0]
    columns: dict[str, Any] = {"input_ids": [[token]] * missing, "labels": [[-100]] * missing}
    if "seq_lengths" in dataset.column_names:
        columns["seq_lengths"] = [[1]] * missing
    return concatenate_datasets([dataset, Dataset.from_dict(columns, features=dataset.features)])
