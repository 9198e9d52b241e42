"""What mini-trainer is handed to train on: tokens and labels as the hub makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from training_hub.plugin import DatasetError, EventLog, write_rows
from training_hub.testing.jobs import make_job
from training_hub_minitrainer.layout import rows_file


def written(model: Path, data: Path, out: Path, **given: Any) -> list[Any]:
    defaults = {"unfreeze_rank_ratio": 0.5, "max_seq_len": 128}
    job = make_job(out, "osft", model_path=str(model), data_path=str(data), **defaults | given)
    files = [rows_file(job.parameters, side) for side in ("train", "validation")]
    lengths = write_rows(job, EventLog(job.directory.events), *files).lengths
    rows = [json.loads(line) for line in (out / "data" / "train.jsonl").read_text().splitlines()]
    assert lengths == [row["len"] for row in rows] == [len(row["input_ids"]) for row in rows]
    return rows


def test_the_assistants_turns_are_trained_or_all_of_them(model: Path, rows: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)

    def trained(row: dict[str, list[int]]) -> str:
        return str(tokenizer.decode([label for label in row["labels"] if label != -100]))

    [first, *_] = written(model, rows, tmp_path / "masked")
    assert trained(first) == "0<|end|>"
    [first, *_] = written(model, rows, tmp_path / "unmasked", unmask_messages=True)
    assert "Say 0." in trained(first)


def test_processed_rows_stay_as_they_are(model: Path, rows: Path, tmp_path: Path) -> None:
    made = written(model, rows, tmp_path / "one")
    again = written(model, tmp_path / "one/data/train.jsonl", tmp_path / "two", use_processed_dataset=True)
    assert [row["input_ids"] for row in again] == [row["input_ids"] for row in made]
    assert [row["labels"] for row in again] == [row["labels"] for row in made]


def test_rows_held_back_are_not_trained_on(model: Path, rows: Path, tmp_path: Path) -> None:
    train = written(model, rows, tmp_path, validation_split=0.25)
    held = [json.loads(line) for line in (tmp_path / "data" / "validation.jsonl").read_text().splitlines()]
    assert (len(train), len(held)) == (12, 4)
    assert not [row for row in held if row in train]


def test_rows_too_long_are_left_out_with_a_warning_and_refused_if_all_are(
    model: Path, rows: Path, tmp_path: Path
) -> None:
    assert max(row["len"] for row in written(model, rows, tmp_path, max_seq_len=40)) <= 40
    assert "longer than max_seq_len=40" in (tmp_path / "events.jsonl").read_text()
    with pytest.raises(DatasetError, match="longer than max_seq_len=4"):
        written(model, rows, tmp_path, max_seq_len=4)


def test_documents_are_cut_in_blocks_of_which_every_token_is_trained(model: Path, tmp_path: Path) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(json.dumps({"text": f"{n} bottles of beer. " * 5}) + "\n" for n in range(9)))
    blocks = written(model, documents, tmp_path, is_pretraining=True, block_size=40)
    assert {block["len"] for block in blocks[:-1]} == {40}
    assert all(block["labels"] == [-100, *block["input_ids"][1:]] for block in blocks)
