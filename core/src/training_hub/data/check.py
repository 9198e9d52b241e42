"""Checks every row of a dataset before anything else is done with it, and names each bad row by file and line."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from training_hub.data.files import Row, dataset_file, read_rows
from training_hub.data.formats import Conversation, DatasetOptions, RowError, convert, detect
from training_hub.errors import DatasetError

SHOWN = 20


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset of which every row is good; the fingerprint is the SHA-256 of the file's bytes."""

    path: str
    format: str
    rows: int
    fingerprint: str
    with_tools: int = 0
    """Conversations that offer tools or call them, which not every chat template can write."""
    first_with_tools: str = ""


class BadRowsError(DatasetError):
    """Rows that cannot be trained on: `count` of them, the first of which are written out in `problems`."""

    def __init__(self, path: str, problems: tuple[str, ...], count: int, rows: int) -> None:
        self.path = path
        self.problems = problems
        self.count = count
        self.rows = rows
        super().__init__(path, problems, count, rows)

    def __str__(self) -> str:
        of = "1 row" if self.rows == 1 else f"{self.rows} rows"
        head = f"{self.count} of the {of} of {self.path} cannot be trained on:"
        hidden = self.count - len(self.problems)
        return "\n  ".join((head, *self.problems, *([f"... and {hidden} more"] if hidden else [])))


def check_dataset(path: str | os.PathLike[str], options: DatasetOptions | None = None) -> DatasetSummary:
    """Read the whole file once; raise one BadRowsError for all of its bad rows, or say what it holds."""
    file = dataset_file(path)
    checker = _Checker(options or DatasetOptions())
    for row in read_rows(path):
        checker.take(row)
    if checker.count:
        raise BadRowsError(str(path), tuple(checker.problems), checker.count, checker.rows)
    with file.open("rb") as stream:
        fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()
    return DatasetSummary(str(path), checker.format, checker.rows, fingerprint, checker.with_tools, checker.tools_at)


@dataclass(slots=True)
class _Checker:
    options: DatasetOptions
    format: str = ""
    first: str = ""
    rows: int = 0
    count: int = 0
    with_tools: int = 0
    tools_at: str = ""
    problems: list[str] = field(default_factory=list)

    def take(self, row: Row) -> None:
        self.rows += 1
        problem = row.problem or self._problem(row)
        if problem:
            self.count += 1
            if len(self.problems) < SHOWN:
                self.problems.append(f"{row.place}: {problem}")

    def _problem(self, row: Row) -> str | None:
        try:
            form = detect(row.value, self.options)
            if self.format and form != self.format:
                return f"the row has format {form!r}; expected {self.format!r}, as in {self.first}"
            example = convert(row.value, form, self.options)
        except RowError as error:
            return str(error)
        if not self.format:
            self.format, self.first = form, str(row.place)
        if isinstance(example, Conversation) and (example.tools or any("tool_calls" in m for m in example.messages)):
            self.with_tools += 1
            self.tools_at = self.tools_at or str(row.place)
        return None
