"""From a file to tokens: documents, plain prompts, dropped rows and the validation split."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from hypothesis import given
from hypothesis import strategies as st

from training_hub.data import (
    BadRowsError,
    DatasetOptions,
    Document,
    PromptCompletion,
    blocks,
    document_tokens,
    encode,
    prepare,
    validation_rows,
)
from training_hub.errors import DatasetError, ModelError, ParameterError

Write = Callable[..., Path]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: Callable[..., Any]) -> Any:
    return make_tokenizer(TEMPLATE)


def rows(count: int, length: int = 3) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n} " + "x" * length}]}
        for n in range(count)
    ]


def test_the_completion_of_a_plain_prompt_and_the_end_are_trained(tokenizer: Any) -> None:
    encoded = encode(PromptCompletion("what is it?", " the answer 😀"), tokenizer, "here")
    trained = [label for label in encoded.labels if label != -100]
    assert tokenizer.decode(encoded.input_ids) == "what is it? the answer 😀</s>"
    assert tokenizer.decode(trained) == " the answer 😀</s>"
    everything = encode(PromptCompletion("what", " x", unmask=True), tokenizer, "here")
    assert everything.labels == [-100, *everything.input_ids[1:]]


def test_an_end_that_is_there_is_not_doubled(tokenizer: Any) -> None:
    encoded = encode(PromptCompletion("what", " x</s>"), tokenizer, "here")
    assert tokenizer.decode(encoded.input_ids) == "what x</s>"
    assert encoded.labels[-1] == tokenizer.eos_token_id


def test_documents_are_joined_with_an_end_each_and_cut_into_blocks(tokenizer: Any) -> None:
    texts = ["one two three", "", "four", "five six seven eight"]
    whole = [token for text in texts if text for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    cut = list(blocks([document_tokens(Document(text), tokenizer) for text in texts if text], 7))
    assert [token for block in cut for token in block.input_ids] == whole
    assert {len(block.input_ids) for block in cut[:-1]} == {7}
    assert all(block.labels == [-100, *block.input_ids[1:]] for block in cut)


@given(lengths=st.lists(st.integers(0, 12), max_size=8), block_size=st.integers(2, 9))
def test_no_token_of_a_document_is_lost(tokenizer: Any, lengths: list[int], block_size: int) -> None:
    whole = [*map(len, (tokenizer("z" * n)["input_ids"] for n in lengths if n))]
    cut = list(blocks((document_tokens(Document("z" * n), tokenizer) for n in lengths if n), block_size))
    total = sum(whole) + len(whole)
    alone = 1 if total % block_size == 1 else 0
    assert sum(len(block.input_ids) for block in cut) == total - alone
    assert all(len(block.input_ids) == block_size for block in cut[:-1])


def test_the_report_counts_what_was_given(tokenizer: Any, write: Write) -> None:
    path = write([*rows(4), *rows(1, length=200)])
    prepared = prepare(path, DatasetOptions(), tokenizer, max_seq_len=60)
    given_rows = list(prepared.train)
    report = prepared.train.report
    assert prepared.validation is None
    assert prepared.summary.rows == 5
    assert (report.rows, report.dropped) == (4, 1)
    assert report.total_tokens == sum(len(row.input_ids) for row in given_rows)
    assert report.trained_tokens == sum(label != -100 for row in given_rows for label in row.labels)
    assert report.longest > 200
    assert f"the longest has {report.longest} tokens" in report.warnings[0]
    assert list(prepared.train) == given_rows
    assert prepared.train.report == report


def test_a_row_of_just_the_longest_length_is_kept(tokenizer: Any, write: Write) -> None:
    (row,) = prepare(write(rows(1)), DatasetOptions(), tokenizer).train
    exact = len(row.input_ids)
    assert list(prepare(write(rows(1)), DatasetOptions(), tokenizer, max_seq_len=exact).train) == [row]
    with pytest.raises(DatasetError, match=rf"longer than max_seq_len={exact - 1}; the longest has {exact} tokens"):
        list(prepare(write(rows(1)), DatasetOptions(), tokenizer, max_seq_len=exact - 1).train)


def test_every_row_is_on_one_side_of_the_split(tokenizer: Any, write: Write) -> None:
    path = write(rows(10))
    whole = prepare(path, DatasetOptions(), tokenizer)
    split = prepare(path, DatasetOptions(), tokenizer, validation_split=0.25, seed=1)
    assert split.validation is not None
    train, held_back = list(split.train), list(split.validation)
    assert (len(train), len(held_back)) == (7, 3)
    assert sorted(train + held_back) == sorted(whole.train)
    again = prepare(path, DatasetOptions(), tokenizer, validation_split=0.25, seed=1)
    assert again.validation is not None
    assert list(again.validation) == held_back


@given(count=st.integers(2, 500), fraction=st.floats(0.001, 0.999), seed=st.integers())
def test_the_split_is_the_same_for_the_same_seed(count: int, fraction: float, seed: int) -> None:
    try:
        held_back = validation_rows(count, fraction, seed)
    except ParameterError as error:
        assert "validation_split" in str(error)
        assert count * fraction > count - 1
        return
    assert held_back == validation_rows(count, fraction, seed)
    assert held_back <= set(range(count))
    assert 1 <= len(held_back) < count
    assert abs(len(held_back) - count * fraction) <= 1


def test_a_split_without_rows_on_a_side_is_refused() -> None:
    assert validation_rows(1, 0.0, 1) == frozenset()
    assert len(validation_rows(30, 0.1, 1)) == 3
    for count, fraction in ((1, 0.5), (10, 0.99), (10, 1.0), (10, -0.1), (10, float("nan"))):
        with pytest.raises(ParameterError, match="validation_split"):
            validation_rows(count, fraction, 1)


def test_processed_rows_pass_unchanged_but_for_the_first_label(
    write: Write, make_tokenizer: Callable[..., Any]
) -> None:
    path = write([{"input_ids": [5, 6, 7], "labels": [5, -100, 7], "len": 3}])
    ((input_ids, labels),) = prepare(path, DatasetOptions(), make_tokenizer(None)).train
    assert (input_ids, labels) == ([5, 6, 7], [-100, -100, 7])


def test_documents_end_to_end(tokenizer: Any, write: Write) -> None:
    path = write([{"text": "one two"}, {"text": ""}, {"text": "three"}])
    prepared = prepare(path, DatasetOptions(is_pretraining=True), tokenizer, block_size=4)
    given_blocks = list(prepared.train)
    assert prepared.train.report.rows == len(given_blocks)
    assert prepared.train.report.dropped == 1
    assert prepared.train.report.warnings == ["1 empty training documents were passed over."]
    with pytest.raises(ParameterError, match="block_size=None"):
        prepare(path, DatasetOptions(is_pretraining=True), tokenizer)
    with pytest.raises(DatasetError, match="is empty"):
        list(prepare(write([{"text": ""}]), DatasetOptions(is_pretraining=True), tokenizer, block_size=4).train)


def test_what_can_be_refused_is_refused_before_a_row_is_encoded(
    write: Write, make_tokenizer: Callable[..., Any]
) -> None:
    bare = make_tokenizer(None)
    with pytest.raises(ModelError, match="has no chat template"):
        prepare(write(rows(1)), DatasetOptions(), bare)
    with pytest.raises(BadRowsError):
        prepare(write([{"messages": []}]), DatasetOptions(), bare)
    bare.eos_token = None
    with pytest.raises(ModelError, match="no end-of-text token"):
        prepare(write([{"text": "a"}]), DatasetOptions(is_pretraining=True), bare, block_size=4)
    with pytest.raises(ModelError, match="no end-of-text token"):
        list(prepare(write([{"prompt": "a", "completion": "b"}]), DatasetOptions(), bare).train)


def test_a_file_that_changed_after_its_check_is_refused_with_the_row(tokenizer: Any, write: Write) -> None:
    path = write(rows(2))
    prepared = prepare(path, DatasetOptions(), tokenizer)
    path.write_text(json.dumps(rows(1)[0]) + "\n{broken\n")
    with pytest.raises(DatasetError, match=r"data\.jsonl:2: broken JSON"):
        list(prepared.train)


def test_a_dataset_of_transformers_is_made_from_the_stream(tokenizer: Any, write: Write, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    prepared = prepare(write(rows(5)), DatasetOptions(), tokenizer)

    def stream() -> Any:
        for row in prepared.train:
            yield row._asdict()

    made = datasets.Dataset.from_generator(stream, cache_dir=str(tmp_path / "cache"))
    assert [tuple(row.values()) for row in made] == [tuple(row) for row in prepared.train]
