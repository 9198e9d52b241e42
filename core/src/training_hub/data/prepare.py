"""From a dataset file to streams of tokens and labels, for training and for validation."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from training_hub.data.check import DatasetSummary, check_dataset
from training_hub.data.encode import Encoder, blocks
from training_hub.data.examples import Document
from training_hub.data.files import Place, read_rows
from training_hub.data.formats import BUILTIN, convert, detect
from training_hub.data.options import DatasetOptions, RowError
from training_hub.data.problems import Problems
from training_hub.data.row_format import EncodedRow, FormatChoice, RowFormat
from training_hub.data.tokenizer import Tokenizer
from training_hub.errors import DatasetError, ParameterError

AT_ONCE = 256
"""Rows that are encoded together."""


@dataclass(slots=True)
class Report:
    """What a stream gave, complete once it was read to the end.

    `rows` and the tokens count what was given (of documents: the blocks), `dropped` the rows that were longer than
    max_seq_len or empty documents, `longest` the tokens of the longest row, dropped ones included.
    """

    rows: int = 0
    trained_tokens: int = 0
    total_tokens: int = 0
    dropped: int = 0
    longest: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rows:
    """One side of the split; each iteration reads the file anew and fills a fresh report."""

    path: str
    count: int
    """Rows of the file, of both sides."""
    parameter: str
    """The parameter that gives the path, which errors name."""
    fingerprint: str  # a cache that is keyed by this object then notices another content of the file
    format: str
    options: DatasetOptions
    encoder: Encoder
    max_seq_len: int | None
    block_size: int | None
    validation: frozenset[int]
    validates: bool
    formats: FormatChoice
    report: Report = field(default_factory=Report)

    def __iter__(self) -> Iterator[EncodedRow]:
        self.report = report = Report()
        for encoded in self._blocks(report) if self.format == "documents" else self._fitting(report):
            report.rows += 1
            report.total_tokens += encoded.total_tokens
            report.trained_tokens += encoded.trained_tokens
            yield encoded
        self._finish(report)

    @property
    def row_format(self) -> RowFormat:
        """The form of the rows."""
        found = self.formats.named(self.format)
        assert found is not None
        return found

    def _fitting(self, report: Report) -> Iterator[EncodedRow]:
        examples = self._examples()
        while some := list(islice(examples, AT_ONCE)):
            try:
                rows = self.row_format.encode(some, self.encoder)
            except DatasetError as error:
                raise self._all_problems(chain(some, examples)) or error from error
            for encoded in rows:
                length = encoded.length
                report.longest = max(report.longest, length)
                if self.max_seq_len is not None and length > self.max_seq_len:
                    report.dropped += 1
                else:
                    yield encoded

    def _all_problems(self, examples: Iterable[tuple[Place, Any]]) -> DatasetError | None:
        """What is wrong with each of these rows, once one of them cannot be encoded."""
        problems = Problems()
        for place, example in examples:
            try:
                self.row_format.encode([(place, example)], self.encoder)
            except DatasetError as error:
                problems.add(place, str(error).removeprefix(f"{place}: "))
        # As plain as it is: the caller's process makes it again from its text.
        return DatasetError(str(problems.error(self.path, self.count, self.parameter))) if problems.count else None

    def _blocks(self, report: Report) -> Iterator[EncodedRow]:
        if self.block_size is None:
            raise ParameterError("block_size is missing; documents are cut into blocks of that many tokens.")
        for encoded in blocks(self._documents(report), self.block_size):
            report.longest = max(report.longest, encoded.length)
            yield encoded

    def _documents(self, report: Report) -> Iterator[list[int]]:
        for place, example in self._examples():
            if isinstance(example, Document) and example.text:
                yield self.encoder.document(example, place)
            else:
                report.dropped += 1

    def _examples(self) -> Iterator[tuple[Place, Any]]:
        for number, row in enumerate(read_rows(self.path)):
            if (number in self.validation) != self.validates:
                continue
            try:
                if row.problem is not None:
                    raise RowError(row.problem)
                if detect(row.value, self.options, self.formats) != self.format:
                    raise RowError(f"the row no longer has format {self.format!r}; the file changed after its check")
                example = convert(row.value, self.format, self.options, self.formats)
            except RowError as error:
                raise DatasetError(f"{row.place}: {error}") from error
            yield row.place, example

    def _finish(self, report: Report) -> None:
        report.warnings.extend(self.encoder.warnings)
        side = "validation" if self.validates else "training"
        if report.rows == 0 and self.format == "documents":
            raise DatasetError(f"Every {side} document of {self.path} is empty; give documents with text.")
        if report.rows == 0:
            raise DatasetError(
                f"Every {side} row of {self.path} is longer than max_seq_len={self.max_seq_len}; the longest has "
                f"{report.longest} tokens. Raise max_seq_len, or shorten the rows."
            )
        if report.dropped and self.format == "documents":
            report.warnings.append(f"{report.dropped} empty {side} documents were passed over.")
        elif report.dropped:
            report.warnings.append(
                f"{report.dropped} of {report.dropped + report.rows} {side} rows were dropped, being longer than "
                f"max_seq_len={self.max_seq_len}; the longest has {report.longest} tokens."
            )


class Prepared(NamedTuple):
    """A checked dataset, ready to be read as tokens; `validation` is None when nothing is held back."""

    summary: DatasetSummary
    train: Rows
    validation: Rows | None


def prepare(
    path: str | os.PathLike[str],
    options: DatasetOptions,
    tokenizer: Tokenizer,
    *,
    max_seq_len: int | None = None,
    block_size: int | None = None,
    validation_split: float = 0.0,
    seed: int = 42,
    summary: DatasetSummary | None = None,
    formats: FormatChoice = BUILTIN,
    parameter: str = "data_path",
    embeddings: int | None = None,
) -> Prepared:
    """Check the dataset (unless its `summary` is given) and open it as streams; nothing is encoded yet."""
    summary = summary or check_dataset(path, options, formats=formats)
    encoder = Encoder(tokenizer, embeddings)
    if (form := formats.named(summary.format)) is None:
        raise DatasetError(f"there is no row format {summary.format!r} among {', '.join(f.name for f in formats.own)}")
    form.require(tokenizer)
    check_length(max_seq_len)
    if summary.format == "documents":
        block_size = block_size or max_seq_len
        if block_size is None or block_size < 2:
            raise ParameterError(f"block_size={block_size} cannot cut documents into blocks; give at least 2.")
    held_back = validation_rows(summary.rows, validation_split, seed)

    def side(validates: bool) -> Rows:
        return Rows(
            path=str(path),
            count=summary.rows,
            parameter=parameter,
            fingerprint=summary.fingerprint,
            format=summary.format,
            options=options,
            encoder=encoder,
            max_seq_len=max_seq_len,
            block_size=block_size,
            validation=held_back,
            validates=validates,
            formats=formats,
        )

    return Prepared(summary, side(False), side(True) if held_back else None)


def validation_rows(count: int, fraction: float, seed: int) -> frozenset[int]:
    """The numbers, from 0, of the rows held back for validation: the same for the same count, fraction and seed."""
    size = validation_count(count, fraction)
    return frozenset(random.Random(seed).sample(range(count), size))


def validation_count(count: int, fraction: float) -> int:
    """How many of so many rows are held back for validation.

    Raises:
        ParameterError: It is no share of them, or leaves nothing to train on.
    """
    if fraction == 0:
        return 0
    if not 0 < fraction < 1:
        raise ParameterError(f"validation_split={fraction} is no share of the rows; give at least 0 and less than 1.")
    # Rounded first, so that 0.1 of 30 rows is 3 and not one more by an error in the last digit.
    size = math.ceil(round(count * fraction, 9))
    if not 0 < size < count:
        raise ParameterError(
            f"validation_split={fraction} of {count} row{'' if count == 1 else 's'} leaves nothing to train on; "
            "give a smaller share or more rows."
        )
    return size


def check_length(max_seq_len: int | None) -> None:
    """Refuse a length of rows in which nothing is predicted.

    Raises:
        ParameterError: It is one.
    """
    if max_seq_len is not None and max_seq_len < 2:
        raise ParameterError(f"max_seq_len={max_seq_len} leaves nothing to predict; give at least 2.")
