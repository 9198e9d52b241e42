"""Writes encoded rows as JSON Lines: the form in which other frameworks take rows that are tokens already."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from training_hub.data.encode import Encoded


def write_processed(rows: Iterable[Encoded], path: Path) -> list[int]:
    """Write one object a row: `input_ids`, `labels` (-100 where nothing is trained) and `len`. Atomic.

    Returns:
        The tokens of each row.
    """
    lengths = []
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        for row in rows:
            lengths.append(len(row.input_ids))
            record = {"input_ids": row.input_ids, "labels": row.labels, "len": lengths[-1]}
            stream.write(json.dumps(record, separators=(",", ":")) + "\n")
    partial.replace(path)
    return lengths
