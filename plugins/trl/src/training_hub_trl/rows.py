"""Rows as the trainer takes them: tokens and labels, made by the hub, kept in Arrow files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, pack_dataset

from training_hub.data import DatasetOptions, DatasetSummary, Encoded, prepare, prepare_job
from training_hub.store.events import EventLog

SCHEMA = pa.schema([("input_ids", pa.large_list(pa.int32())), ("labels", pa.large_list(pa.int32()))])


@dataclass(frozen=True)
class Splits:
    """Training and validation rows.

    Behind the real rows may lie some without a trained token. They fill up the last batch where several processes must
    get the same number of batches, and change no loss.
    """

    train: Dataset
    train_count: int
    """Real training rows (packed: sequences)."""
    validation: Dataset | None = None
    validation_tokens: int = 0
    """Trained tokens of all validation rows."""


def make_splits(job: dict[str, Any], tokenizer: PreTrainedTokenizerBase, events: EventLog, args: SFTConfig) -> Splits:
    """Turn the rows into tokens and labels.

    The main process of each node writes them once, the others map the same files.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    directory = Path(job["data_directory"])
    paths = {split: directory / f"{split}.arrow" for split in ("train", "validation")}
    with args.main_process_first(desc="rows"):
        if args.local_process_index == 0:
            _write_splits(job, tokenizer, events, paths)
    train = Dataset.from_file(str(paths["train"]))
    if args.packing:
        with args.main_process_first(desc="packing"):
            train = pack_dataset(train, args.max_length, args.packing_strategy, {"keep_in_memory": True})
    filled = _fill(train, args.per_device_train_batch_size, args.world_size, tokenizer)
    if not paths["validation"].exists():
        return Splits(filled, len(train))
    validation = Dataset.from_file(str(paths["validation"]))
    trained = sum(label != -100 for labels in validation["labels"] for label in labels)
    return Splits(
        filled,
        len(train),
        _fill(validation, args.per_device_eval_batch_size, args.world_size, tokenizer),
        trained,
    )


def _write_splits(
    job: dict[str, Any], tokenizer: PreTrainedTokenizerBase, events: EventLog, paths: dict[str, Path]
) -> None:
    values = job["values"]
    prepared = prepare_job(job, tokenizer)
    sides = {"train": prepared.train, "validation": prepared.validation}
    if path := values.get("eval_data_path"):
        sides["validation"] = prepare(
            path,
            DatasetOptions(**job["dataset"]),
            tokenizer,
            max_seq_len=values["max_seq_len"],
            block_size=values["block_size"],
            summary=DatasetSummary(**job["eval_data"]),
        ).train
    paths["train"].parent.mkdir(parents=True, exist_ok=True)
    for split, path in paths.items():
        rows = sides[split]
        if rows is None:
            path.unlink(missing_ok=True)
            continue
        _write(rows, path)
        for warning in rows.report.warnings:
            events.emit("warning", message=warning)


def _write(rows: Iterable[Encoded], path: Path, batch: int = 1000) -> None:
    partial = path.with_suffix(".partial")
    iterator = iter(rows)
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        while chunk := list(islice(iterator, batch)):
            columns = {"input_ids": [row.input_ids for row in chunk], "labels": [row.labels for row in chunk]}
            writer.write_table(pa.table(columns, schema=SCHEMA))
    partial.replace(path)


def _fill(dataset: Dataset, batch: int, world_size: int, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """With rows of no trained token, so that each process has the same number of batches; alone one needs none."""
    missing = -len(dataset) % (batch * world_size) if world_size > 1 else 0
    if not missing:
        return dataset
    token = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    columns: dict[str, Any] = {"input_ids": [[token]] * missing, "labels": [[-100]] * missing}
    if "seq_lengths" in dataset.column_names:
        columns["seq_lengths"] = [[1]] * missing
    return concatenate_datasets([dataset, Dataset.from_dict(columns, features=dataset.features)])
