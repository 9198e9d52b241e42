"""Makes the rows that the framework trains on, before it starts (`-m training_hub_instructlab.rows JOB`).

The framework takes one file of tokens and labels, and splits validation rows off by itself. The hub has chosen them
already, the same as for every backend; so the rows are written in such an order that the framework's split gives the
hub's training rows, in the hub's order, and the hub's validation rows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training_hub.data import Encoded, prepare_job, write_processed
from training_hub.errors import ModelNotFoundError
from training_hub.store.directory import RunDirectory, read_json, write_json
from training_hub.store.events import EventLog
from training_hub.worker.failure import recorded_failure

FILE = "data.jsonl"
SUMMARY = "rows.json"


@dataclass(frozen=True)
class Rows:
    """What the file of rows holds."""

    lengths: tuple[int, ...]
    """Tokens of each training row."""
    validation: int = 0
    """Validation rows."""
    validation_tokens: int = 0
    """Trained tokens of all validation rows."""

    @property
    def split(self) -> float:
        """The share that makes the framework hold back just as many rows."""
        # It rounds up, so that half a row less than the count is safe from errors in the last digit.
        return (self.validation - 0.5) / (len(self.lengths) + self.validation) if self.validation else 0.0

    def steps(self, effective_batch_size: int) -> int:
        """Optimizer steps in an epoch."""
        return math.ceil(len(self.lengths) / effective_batch_size)

    @classmethod
    def read(cls, directory: Path) -> Rows:
        found = read_json(directory / SUMMARY)
        return cls(tuple(found["lengths"]), found["validation"], found["validation_tokens"])


def make_rows(job: dict[str, Any], events: EventLog) -> Rows:
    """Turn the dataset into tokens and labels, and write them for the framework.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    from transformers import AutoTokenizer

    values, directory = job["values"], Path(job["data_directory"])
    try:
        tokenizer = AutoTokenizer.from_pretrained(values["model_path"], trust_remote_code=values["trust_remote_code"])
    except OSError as error:
        raise ModelNotFoundError(f"model_path={values['model_path']}: {error}") from error
    prepared = prepare_job(job, tokenizer)
    train, validation = _Counted(prepared.train), _Counted(prepared.validation or ())
    write_processed(train, directory / FILE)
    if prepared.validation is not None:
        write_processed(validation, directory / "validation.jsonl")
    for side in filter(None, (prepared.train, prepared.validation)):
        for warning in side.report.warnings:
            events.emit("warning", message=warning)
    rows = Rows(tuple(train.lengths), len(validation.lengths), validation.trained_tokens)
    if rows.validation:
        _merge(directory / FILE, directory / "validation.jsonl", rows, values["seed"])
    write_json(directory / SUMMARY, asdict(rows))
    return rows


class _Counted:
    """Rows that are counted while they are read."""

    def __init__(self, rows: Iterable[Encoded]) -> None:
        self.rows = rows
        self.lengths: list[int] = []
        self.trained_tokens = 0

    def __iter__(self) -> Iterator[Encoded]:
        for row in self.rows:
            self.lengths.append(len(row.input_ids))
            self.trained_tokens += row.trained_tokens
            yield row


def _merge(train: Path, validation: Path, rows: Rows, seed: int) -> None:
    """Write both into the first file, each row where the framework's split will look for it."""
    from datasets import Dataset

    total = len(rows.lengths) + rows.validation
    split = Dataset.from_dict({"place": range(total)}).train_test_split(test_size=rows.split, seed=seed, shuffle=True)
    source: list[tuple[Path, int]] = [(train, 0)] * total
    for path, side in ((train, "train"), (validation, "test")):
        for place, offset in zip(split[side]["place"], _line_starts(path), strict=True):
            source[place] = (path, offset)
    partial = train.with_suffix(".partial")
    with train.open("rb") as first, validation.open("rb") as second, partial.open("wb") as merged:
        for path, offset in source:
            stream = first if path == train else second
            stream.seek(offset)
            merged.write(stream.readline())
    partial.replace(train)
    validation.unlink()


def _line_starts(path: Path) -> list[int]:
    starts, position = [], 0
    with path.open("rb") as lines:
        for line in lines:
            starts.append(position)
            position += len(line)
    return starts


def main() -> None:
    job = read_json(Path(sys.argv[1]))
    directory = RunDirectory(Path(job["directory"]))
    with recorded_failure(directory.logs):
        make_rows(job, EventLog(directory.events))


if __name__ == "__main__":
    main()
