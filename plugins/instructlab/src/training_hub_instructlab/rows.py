"""Makes the rows that the framework trains on, before it starts (`-m training_hub_instructlab.rows JOB`).

The framework takes one file of tokens and labels, and splits validation rows off by itself. The hub has chosen them
already, the same as for every backend; so the rows are written in such an order that the framework's split gives the
hub's training rows, in the hub's order, and the hub's validation rows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from training_hub.plugin import EventLog, Job, read_json, run_worker, write_json, write_rows

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


def make_rows(job: Job) -> None:
    """Turn the dataset into tokens and labels, and write them for the framework.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    train, validation = job.data_directory / FILE, job.data_directory / "validation.jsonl"
    lengths, held_back = write_rows(job, EventLog(job.directory.events), train, validation)
    rows = Rows(tuple(lengths))
    if held_back:
        rows = Rows(tuple(lengths), held_back.rows, held_back.trained_tokens)
        _merge(train, validation, rows, job.parameters["seed"])
    write_json(job.data_directory / SUMMARY, asdict(rows))


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


if __name__ == "__main__":
    run_worker(make_rows)
