"""The rows of a job as tokens, in the processes that train: the same for every backend."""

from __future__ import annotations

from collections.abc import Iterable

from training_hub.backends.job import Job
from training_hub.data.formats import BUILTIN
from training_hub.data.prepare import Prepared, Rows, prepare
from training_hub.data.row_format import FormatChoice, RowFormat
from training_hub.data.tokenizer import Tokenizer
from training_hub.store.events import EventLog


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
    formats = FormatChoice((*BUILTIN.own, *row_formats))
    length, block = values["max_seq_len"], values["block_size"]
    found = prepare(
        values["data_path"],
        job.dataset,
        tokenizer,
        max_seq_len=length,
        block_size=block,
        validation_split=values["validation_split"],
        seed=values["seed"],
        summary=job.data,
        formats=formats,
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
        formats=formats,
    )
    return found._replace(validation=held_out.train)


def tell_warnings(sides: Iterable[Rows | None], events: EventLog) -> None:
    """Emit what there is to say of rows that have been read to the end, such as how many were too long."""
    for side in sides:
        for warning in side.report.warnings if side is not None else ():
            events.emit("warning", message=warning)
