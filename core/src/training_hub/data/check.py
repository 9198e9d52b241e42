"""Checks every row of a dataset before anything else is done with it, and names each bad row by file and line."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from training_hub.data.examples import IGNORED, Processed
from training_hub.data.files import Row, dataset_file, read_rows
from training_hub.data.formats import BUILTIN, convert, detect
from training_hub.data.options import DatasetOptions, RowError
from training_hub.data.problems import Problems
from training_hub.data.row_format import FormatChoice
from training_hub.errors import DatasetError, DatasetNotFoundError

MOST_UNREAD = 20


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset of which every row is good; the fingerprint is the SHA-256 of the file's bytes."""

    path: str
    format: str
    rows: int
    fingerprint: str
    with_tools: int = 0
    """Rows that offer tools or call them, which not every chat template can write."""
    first_with_tools: str = ""
    unread: tuple[str, ...] = ()
    """Keys that rows have and nothing reads, in order of the alphabet; at most so many as `MOST_UNREAD`."""


def check_dataset(
    path: str | os.PathLike[str],
    options: DatasetOptions | None = None,
    *,
    parameter: str = "data_path",
    vocab_size: int | None = None,
    formats: FormatChoice | None = None,
) -> DatasetSummary:
    """Read the whole file once; raise one BadRowsError for all of its bad rows, or say what it holds.

    Args:
        path: The dataset file.
        options: What the caller says about its rows.
        parameter: The parameter that gives the path, which errors name.
        vocab_size: Tokens that the model knows, where that is known: rows that are tokens already hold no others.
        formats: The forms that the algorithm takes; by default the hub's own.
    """
    checker = _Checker(options or DatasetOptions(), vocab_size, formats)
    try:
        file = dataset_file(path)
        for row in read_rows(path):
            checker.take(row)
    except (DatasetError, DatasetNotFoundError) as error:
        raise type(error)(f"{parameter}: {error}") from error
    if checker.problems.count:
        raise checker.problems.error(str(path), checker.rows, parameter)
    with file.open("rb") as stream:
        fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()
    return DatasetSummary(
        str(path),
        checker.format,
        checker.rows,
        fingerprint,
        checker.with_tools,
        checker.tools_at,
        tuple(sorted(checker.unread)[:MOST_UNREAD]),
    )


@dataclass(slots=True)
class _Checker:
    options: DatasetOptions
    vocab_size: int | None
    formats: FormatChoice | None = None
    format: str = ""
    first: str = ""
    rows: int = 0
    with_tools: int = 0
    tools_at: str = ""
    unread: set[str] = field(default_factory=set)
    problems: Problems = field(default_factory=Problems)

    def take(self, row: Row) -> None:
        self.rows += 1
        problem = row.problem or self._problem(row)
        if problem:
            self.problems.add(row.place, problem)

    def _problem(self, row: Row) -> str | None:
        try:
            form = detect(row.value, self.options, self.formats)
            if self.format and form != self.format:
                return f"the row has format {form!r}; expected {self.format!r}, as in {self.first}"
            example = convert(row.value, form, self.options, self.formats)
            if isinstance(example, Processed) and self.vocab_size is not None:
                _check_tokens(example, self.vocab_size)
        except RowError as error:
            return str(error)
        if not self.format:
            self.format, self.first = form, str(row.place)
        found = (self.formats or BUILTIN).named(form)
        if found is None:
            return None
        if found.offers_tools(example):
            self.with_tools += 1
            self.tools_at = self.tools_at or str(row.place)
        if isinstance(row.value, dict) and len(self.unread) < MOST_UNREAD:
            self.unread |= found.unread(row.value, self.options)
        return None


def _check_tokens(row: Processed, vocab_size: int) -> None:
    for key, tokens in (("input_ids", row.input_ids), ("labels", row.labels)):
        if (highest := max(tokens)) >= vocab_size:
            ignored = f", or {IGNORED} where nothing is learnt" if key == "labels" else ""
            raise RowError(
                f"{key!r} holds {highest}; expected tokens of the model, which are 0 to {vocab_size - 1}{ignored}"
            )
