"""Training and validation rows as the trainers take them: in Arrow files, which the processes of a node share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainingArguments

from training_hub.plugin import EventLog, Job, RowFormat, prepare_rows, tell_warnings

Columns: TypeAlias = Callable[[Sequence[Any]], dict[str, list[Any]]]
"""Gives encoded rows as columns."""


@dataclass(frozen=True)
class Splits:
    """Training and validation rows.

    Behind the real rows may lie some that only fill up the last batch, where several processes must get the same number
    of batches; they change no loss.
    """

    train: Dataset
    train_tokens: Sequence[int]
    """Tokens of each real training row (packed: of each sequence)."""
    validation: Dataset | None = None
    validation_count: int = 0
    """What the validation loss is a mean over: the trained tokens of all validation rows."""
    packed: bool = False
    """Whether several rows lie in one, so that they cannot be named."""

    @property
    def train_count(self) -> int:
        """Real training rows (packed: sequences)."""
        return len(self.train_tokens)


def open_rows(
    job: Job,
    tokenizer: PreTrainedTokenizerBase,
    events: EventLog,
    args: TrainingArguments,
    *,
    schema: pa.Schema,
    columns: Columns,
    row_formats: Iterable[RowFormat] = (),
) -> tuple[Dataset, Dataset | None]:
    """Training and validation rows as tokens.

    The main process of each node writes them once, the others map the same files.

    Args:
        job: Whose rows.
        tokenizer: The model's.
        events: Where warnings of the rows go.
        args: Says which process is the main one.
        schema: The columns that are written.
        columns: Gives encoded rows as these.
        row_formats: The forms of the plugin's own that the algorithm takes.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    paths = [job.data_directory / f"{split}.arrow" for split in ("train", "validation")]
    with args.main_process_first(desc="rows"):
        if args.local_process_index == 0:
            prepared = prepare_rows(job, tokenizer, row_formats)
            sides = (prepared.train, prepared.validation)
            job.data_directory.mkdir(parents=True, exist_ok=True)
            for side, path in zip(sides, paths, strict=True):
                if side is None:
                    path.unlink(missing_ok=True)
                else:
                    _write(side, path, schema, columns)
            tell_warnings(sides, events)
    train, validation = paths
    return Dataset.from_file(str(train)), Dataset.from_file(str(validation)) if validation.exists() else None


def _write(rows: Iterable[Any], path: Path, schema: pa.Schema, columns: Columns, batch: int = 1000) -> None:
    partial = path.with_suffix(".partial")
    iterator = iter(rows)
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while chunk := list(islice(iterator, batch)):
            writer.write_table(pa.table(columns(chunk), schema=schema))
    partial.replace(path)


def lengths(rows: Dataset, column: str) -> list[int]:
    """How many entries a column of lists has in each row."""
    found: list[int] = pa.compute.list_value_length(rows.with_format("arrow")[:][column]).to_pylist()
    return found
