"""Checking a dataset: every bad row, with its place, and never anything but a DatasetError."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from training_hub.data import FORMATS, BadRowsError, DatasetOptions, DatasetSummary, check_dataset
from training_hub.errors import DatasetError

Write = Callable[..., Path]
GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def test_a_good_dataset_is_summed_up(write: Write) -> None:
    path = write([GOOD, GOOD])
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
    assert check_dataset(path) == DatasetSummary(str(path), "messages", 2, fingerprint)


def test_every_bad_row_is_counted_and_a_problem_is_said_once_with_its_places(write: Write) -> None:
    bad = json.dumps({"messages": []})
    path = write("\n".join([json.dumps(GOOD), "{broken", *[bad] * 30, json.dumps({"instruction": "a", "output": "b"})]))
    with pytest.raises(BadRowsError) as raised:
        check_dataset(path)
    error = raised.value
    assert isinstance(error, DatasetError)
    assert (error.count, len(error.problems), error.rows, error.more) == (32, 3, 33, 0)
    assert error.problems[0].startswith(f"{path}:2: broken JSON at column 2")
    places = ", ".join(map(str, range(4, 23)))
    empty = "'messages' is empty; expected at least a user and an assistant message"
    assert error.problems[1] == f"{path}:3, {places} and 10 more: {empty}"
    assert str(error).startswith(f"data_path: 32 of the 33 rows of {path} cannot be trained on:\n  {path}:2: ")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_first_twenty_kinds_of_problems_are_shown(write: Write) -> None:
    path = write([{f"key{number}": 1} for number in range(25)])
    with pytest.raises(BadRowsError) as raised:
        check_dataset(path)
    assert (raised.value.count, len(raised.value.problems), raised.value.more) == (25, 20, 5)
    assert str(raised.value).endswith("... and 5 more")


def test_keys_that_nothing_reads_are_named(write: Write) -> None:
    rows = [{**GOOD, "source": "a", "tools": None}, {**GOOD, "sytsem": "be short", "tools": []}]
    assert check_dataset(write(rows)).unread == ("source", "sytsem")


def test_formats_are_not_mixed(write: Write) -> None:
    path = write([GOOD, {"instruction": "a", "output": "b"}])
    with pytest.raises(BadRowsError) as raised:
        check_dataset(path)
    assert raised.value.problems == (f"{path}:2: the row has format 'alpaca'; expected 'messages', as in {path}:1",)


def test_a_format_that_was_named_is_the_one_that_is_checked(write: Write) -> None:
    with pytest.raises(BadRowsError, match="'instruction' is missing"):
        check_dataset(write([GOOD]), DatasetOptions(dataset_type="alpaca"))
    assert check_dataset(write([{"document": "a"}]), DatasetOptions(is_pretraining=True)).format == "documents"


MESSAGE_WORDS = (
    "messages",
    "role",
    "content",
    "user",
    "assistant",
    "tool",
    "tool_calls",
    "function",
    "name",
    "thinking",
)
SHAREGPT_WORDS = ("conversations", "from", "value", "human", "gpt", "function_call", "arguments", "tools", "system")
OTHER_WORDS = (
    "unmask",
    "text",
    "type",
    "input_ids",
    "labels",
    "prompt",
    "completion",
    "instruction",
    "output",
    "history",
)
WORDS = st.sampled_from((*MESSAGE_WORDS, *SHAREGPT_WORDS, *OTHER_WORDS, "{}", "[["))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5),
    max_leaves=25,
)
OPTIONS = st.builds(
    DatasetOptions, dataset_type=st.none() | st.sampled_from(FORMATS), unmask=st.booleans()
) | st.sampled_from([DatasetOptions(is_pretraining=True), DatasetOptions(use_processed_dataset=True)])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(VALUES, min_size=1, max_size=3), options=OPTIONS)
@example(rows=["\ud800"], options=DatasetOptions())
@example(rows=[{"messages": [{"role": "user", "content": "\udfff"}]}], options=DatasetOptions())
def test_no_json_value_whatever_breaks_the_check(tmp_path: Path, rows: list[Any], options: DatasetOptions) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    try:
        summary = check_dataset(path, options)
    except BadRowsError as error:
        assert 1 <= error.count <= len(rows)
        assert str(error)
    else:
        assert summary.rows == len(rows)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1), name=st.sampled_from(["data.jsonl", "data.json"]))
def test_no_file_content_whatever_breaks_the_check(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        check_dataset(path)
    except (DatasetError, FileNotFoundError) as error:
        assert str(path) in str(error)


def test_the_package_imports_without_any_framework() -> None:
    heavy = ("torch", "transformers", "numpy", "pyarrow")
    code = f"import sys, training_hub.data; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
