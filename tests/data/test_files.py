"""Reading rows, with the place of each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training_hub.data import check_dataset, dataset_file, read_rows
from training_hub.errors import DatasetError, DatasetNotFoundError

Write = Callable[..., Path]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def test_json_lines_come_with_their_line_number_and_blank_lines_are_skipped(write: Write) -> None:
    path = write('\ufeff{"a": 1}\n\n   \n{"a": 2}\r\n{"a": "\u2028"}')
    rows = list(read_rows(path))
    assert [row.value for row in rows] == [{"a": 1}, {"a": 2}, {"a": "\u2028"}]
    assert [(row.place.row, row.place.line) for row in rows] == [(1, 1), (2, 4), (3, 5)]
    assert str(rows[1].place) == f"{path}:4"


def test_a_list_comes_with_the_line_each_object_starts_in(write: Write) -> None:
    path = write('\ufeff[\n  {"a": 1},\n  {\n    "a": 2\n  }, {"a": 3}\n]\n', "data.json")
    assert [(row.value, str(row.place)) for row in read_rows(path)] == [
        ({"a": 1}, f"{path}:2 (row 1)"),
        ({"a": 2}, f"{path}:3 (row 2)"),
        ({"a": 3}, f"{path}:5 (row 3)"),
    ]


def test_a_json_file_that_is_really_json_lines_is_read(write: Write) -> None:
    path = write('\n{"a": 1}\n{"a": 2}\n', "data.json")
    assert [(row.value, row.place.line) for row in read_rows(path)] == [({"a": 1}, 2), ({"a": 2}, 3)]


def test_a_single_object_over_several_lines_is_refused(write: Write) -> None:
    with pytest.raises(DatasetError, match="neither a list nor one object a line"):
        list(read_rows(write('{\n"a": 1\n}', "data.json")))


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ('[{"a": 1}, {"a" 2}]', ":1 (row 2)", "broken JSON at column 17"),
        ('[{"a": 1},\n {"a": 2},\n]', ":3 (row 3)", "broken JSON at column 1"),
        ('[{"a": 1}\n {"a": 2}]', ":2 (row 1)", "broken JSON at column 2: Expecting ']'"),
        ('[{"a": 1}', ":1 (row 1)", "broken JSON at column 10"),
        ('[{"a": 1}] x', ":1 (row 1)", "more after the end"),
        ("[" * 100_000, ":1 (row 1)", "nested too deeply"),
    ],
)
def test_a_broken_list_says_where(write: Write, text: str, place: str, problem: str) -> None:
    path = write(text, "data.json")
    last = list(read_rows(path))[-1]
    assert (str(last.place), last.value) == (f"{path}{place}", None)
    assert last.problem is not None
    assert problem in last.problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": }', "broken JSON at column 7"),
        (b'{"a": ', "broken JSON at column 7"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8"),
        (b'{"a": "\\ud83d"}', "half a character"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_line_says_what_and_reading_goes_on(tmp_path: Path, line: bytes, problem: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(line + b'\n{"a": "\\ud83d\\ude00"}\n')
    first, second = read_rows(path)
    assert first.problem is not None
    assert problem in first.problem
    assert (second.value, second.problem) == ({"a": "😀"}, None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), min_size=1), indent=st.sampled_from([None, 1])
)
def test_every_way_of_writing_rows_is_read_back(tmp_path: Path, rows: list[object], indent: int | None) -> None:
    as_list, as_lines = tmp_path / "rows.json", tmp_path / "rows.jsonl"
    as_list.write_text(json.dumps(rows, indent=indent, ensure_ascii=bool(indent)), errors="surrogatepass")
    as_lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in (as_list, as_lines):
        read = list(read_rows(path))
        assert [row.value for row in read] == rows
        assert [row.place.row for row in read] == list(range(1, len(rows) + 1))


def test_an_object_longer_than_the_chunks_it_is_read_in(write: Write) -> None:
    rows = [{"a": "x" * 300_000}, {"a": 1}, {"a": ["y" * 70_000]}]
    assert [row.value for row in read_rows(write(json.dumps(rows), "data.json"))] == rows


def test_numbers_at_the_edge_of_a_chunk_are_not_cut(write: Write) -> None:
    numbers = list(range(10_000, 40_000))
    assert [row.value for row in read_rows(write(json.dumps(numbers), "data.json"))] == numbers


def test_parquet_rows_have_a_row_number(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    messages = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "name": "x"}]
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"messages": messages}, {"messages": messages}]), path)
    assert [str(row.place) for row in read_rows(path)] == [f"{path}:row 1", f"{path}:row 2"]
    assert check_dataset(path).rows == 2
    path.write_bytes(b"not parquet")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        list(read_rows(path))


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DatasetError, match="pip install pyarrow"):
        list(read_rows(path))


def test_what_is_no_dataset_is_refused_with_the_mend(tmp_path: Path, write: Write) -> None:
    with pytest.raises(DatasetNotFoundError, match="There is no dataset at"):
        dataset_file(tmp_path / "none.jsonl")
    for text, name in (("", "a.jsonl"), ("\n \n", "b.jsonl"), ("[]", "c.json"), ("", "d.json")):
        with pytest.raises(DatasetNotFoundError, match="empty; it needs at least one row"):
            list(read_rows(write(text, name)))
    with pytest.raises(DatasetError, match=r"ends in '\.csv'; give a \.jsonl"):
        dataset_file(write("a,b", "data.csv"))
    with pytest.raises(DatasetError, match=r"is a directory; give one of the files in it: a\.jsonl, b\.jsonl"):
        dataset_file(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="there is no dataset in it"):
        dataset_file(tmp_path / "empty")


def test_rows_are_read_only_as_they_are_asked_for(write: Write) -> None:
    rows = read_rows(write('{"a": 1}\n' * 3 + "broken"))
    assert next(rows).value == {"a": 1}
    assert next(rows).problem is None


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_what_is_no_json_and_keys_that_are_there_twice_are_named(tmp_path: Path, name: str) -> None:
    rows = ['{"a": NaN}', '{"a": {"b": 1, "b": 2}}', '{"a": -Infinity}', '{"a": 1}']
    path = tmp_path / name
    path.write_text("[" + ",\n".join(rows) + "]" if name.endswith(".json") else "\n".join(rows))
    nan, twice, infinity, good = read_rows(path)
    assert nan.problem == "the JSON cannot be read: NaN is no JSON; write a number, a text or null"
    assert twice.problem == "the JSON cannot be read: the key 'b' is there twice in one object; leave one of them"
    assert infinity.problem is not None
    assert good.value == {"a": 1}


def test_lines_may_end_as_on_old_macs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\r{"a": 2}\r{broken\r')
    first, second, broken = read_rows(path)
    assert [first.value, second.value] == [{"a": 1}, {"a": 2}]
    assert (second.place.row, broken.place.row) == (2, 3)
    assert broken.problem is not None


def test_the_nulls_that_parquet_fills_in_are_left_out_at_every_depth(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {"calls": [{"arguments": {"city": "a"}}], "schema": {"properties": {"city": {"type": "string"}}}},
        {
            "calls": [{"arguments": {"symbol": "b", "days": [1, 2]}}],
            "schema": {"properties": {"symbol": {"type": "x"}}},
        },
        {"calls": [{"arguments": {}}], "schema": None, "text": "c"},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = [row.value for row in read_rows(tmp_path / "rows.parquet")]
    assert read[:2] == rows[:2]
    assert read[2] == {"calls": [{"arguments": {}}]}


@pytest.mark.parametrize(("name", "mend"), [("rows.jsonl.gz", "gunzip"), ("rows.csv", "read_csv")])
def test_a_file_of_another_kind_is_refused_with_what_mends_it(tmp_path: Path, name: str, mend: str) -> None:
    (tmp_path / name).write_text("a")
    with pytest.raises(DatasetError, match=mend):
        next(read_rows(tmp_path / name))
