"""Rows as mini-trainer takes them: tokens and labels, made by the hub, as JSON Lines."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from training_hub.data import prepare_job, write_processed
from training_hub.store.events import EventLog
from training_hub_minitrainer.layout import rows_file


def write_rows(job: dict[str, Any], tokenizer: PreTrainedTokenizerBase, events: EventLog) -> list[int]:
    """Turn the rows into tokens and labels, and write them where the framework reads them.

    Returns:
        The tokens of each training row.

    Raises:
        UserError: A row cannot be encoded, or none is short enough.
    """
    values = job["values"]
    prepared = prepare_job(job, tokenizer)
    lengths: list[int] = []

    def counted() -> Any:
        for row in prepared.train:
            lengths.append(len(row.input_ids))
            yield row

    write_processed(counted(), rows_file(values, "train"))
    if prepared.validation is not None:
        write_processed(prepared.validation, rows_file(values, "validation"))
    for rows in (prepared.train, prepared.validation):
        for warning in rows.report.warnings if rows is not None else ():
            events.emit("warning", message=warning)
    return lengths
