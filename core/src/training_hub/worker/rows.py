"""The rows of a job as tokens, in the processes that train: the same for every backend."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from training_hub.backends.job import Job
from training_hub.data.check import DatasetSummary
from training_hub.data.encode import Encoded
from training_hub.data.formats import BUILTIN
from training_hub.data.prepare import Prepared, Report, Rows, prepare
from training_hub.data.processed import write_processed
from training_hub.data.row_format import FormatChoice, RowFormat
from training_hub.data.tokenizer import Tokenizer
from training_hub.errors import ModelError, ModelNotFoundError, UserError
from training_hub.store.events import EventLog


def load_tokenizer(job: Job, **options: Any) -> Any:
    """The tokenizer of a job's model, in the revision that a further keyword asks for.

    Args:
        job: The job.
        **options: Further ones of `AutoTokenizer.from_pretrained`.

    Raises:
        ModelNotFoundError: The model has none.
    """
    from transformers import AutoTokenizer

    path, trusted = job.parameters["model_path"], job.parameters["trust_remote_code"]
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trusted, revision=revision(job), **options)
    except OSError as error:
        raise ModelNotFoundError(f"model_path={path}: {error}") from error


def load_config(job: Job, **options: Any) -> Any:
    """The configuration of a job's model, in the revision that a further keyword asks for.

    Args:
        job: The job.
        **options: Further ones of `AutoConfig.from_pretrained`.

    Raises:
        ModelNotFoundError: The model has none.
        ModelError: It is of a kind that transformers does not know.
    """
    from transformers import AutoConfig

    path, trusted = job.parameters["model_path"], job.parameters["trust_remote_code"]
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trusted, revision=revision(job), **options)
    except OSError as error:
        raise ModelNotFoundError(f"model_path={path}: {error}") from error
    except ValueError as error:
        raise ModelError(f"model_path={path}: {error}") from error


def revision(job: Job) -> str:
    """Which version of the model on the Hugging Face Hub a further keyword asks for; by default `main`."""
    return next((values["revision"] for values in job.arguments.values() if values.get("revision")), "main")


def prepare_rows(job: Job, tokenizer: Tokenizer, row_formats: Iterable[RowFormat] = ()) -> Prepared:
    """Open the rows of a job as streams of tokens, for training and for validation; nothing is encoded yet.

    Args:
        job: The job, whose rows the caller's process has checked.
        tokenizer: The model's.
        row_formats: The forms of the plugin's own that its algorithm takes, besides the hub's.

    Raises:
        UserError: The tokenizer has no chat template that the rows need, or the lengths leave nothing to learn from.
    """
    values = job.parameters
    every = (*BUILTIN.own, *row_formats)
    length, block = values["max_seq_len"], values["block_size"]
    embeddings = _embeddings(job)
    found = prepare(
        values["data_path"],
        job.dataset,
        tokenizer,
        max_seq_len=length,
        block_size=block,
        validation_split=values["validation_split"],
        seed=values["seed"],
        summary=job.data,
        formats=_checked(job.data, every),
        embeddings=embeddings,
    )
    if job.eval_data is None:
        return found
    held_out = prepare(
        values["eval_data_path"],
        job.dataset,
        tokenizer,
        max_seq_len=length,
        block_size=block,
        summary=job.eval_data,
        formats=_checked(job.eval_data, every),
        parameter="eval_data_path",
        embeddings=embeddings,
    )
    return found._replace(validation=held_out.train)


def _checked(data: DatasetSummary, every: tuple[RowFormat, ...]) -> FormatChoice:
    """The form that the check found. Others, which the algorithm does not take, might recognise a row as well."""
    return FormatChoice(tuple(each for each in every if each.name == data.format) or every)


def _embeddings(job: Job) -> int | None:
    """Tokens that the model has embeddings for; None where no configuration of transformers says it."""
    # A tokenizer of transformers has imported it; a plugin that does without is not made to load it.
    if "transformers" not in sys.modules:
        return None
    try:
        found = getattr(load_config(job).get_text_config(), "vocab_size", None)
    except UserError:
        return None
    return found if isinstance(found, int) else None


def tell_warnings(sides: Iterable[Rows | None], events: EventLog) -> None:
    """Emit what there is to say of rows that have been read to the end, such as how many were too long."""
    for side in sides:
        for warning in side.report.warnings if side is not None else ():
            events.emit("warning", message=warning)


class WrittenRows(NamedTuple):
    """What was written for a framework that reads tokens from files."""

    lengths: list[int]
    """Tokens of each training row."""
    validation: Report | None
    """What the validation rows are; None where there are none."""


def write_rows(job: Job, events: EventLog, train: Path, validation: Path) -> WrittenRows:
    """Write the rows of a job, of the hub's own forms, as JSON Lines: `input_ids`, `labels` and `len`.

    Args:
        job: The job.
        events: Where it is told what there is to say of the rows.
        train: The file for the training rows.
        validation: The file for the validation rows, written where there are any.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    prepared = prepare_rows(job, load_tokenizer(job))
    lengths = write_processed(cast(Iterable[Encoded], prepared.train), train)
    if prepared.validation is not None:
        write_processed(cast(Iterable[Encoded], prepared.validation), validation)
    tell_warnings((prepared.train, prepared.validation), events)
    return WrittenRows(lengths, prepared.validation.report if prepared.validation is not None else None)
