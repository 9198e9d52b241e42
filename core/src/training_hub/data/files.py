"""Reads the rows of a dataset file one by one, each with the place it stands at."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from training_hub.errors import DatasetError, DatasetNotFoundError

LINES = (".jsonl", ".ndjson")
SUFFIXES = (*LINES, ".json", ".parquet")
ACCEPTED = "a .jsonl, .ndjson, .json or .parquet file"

_MENDS = {
    ".gz": " (gunzip unpacks it)",
    ".zst": " (zstd -d unpacks it)",
    ".csv": " (its columns as keys: pandas.read_csv(...).to_json(..., orient='records', lines=True))",
    ".arrow": " (datasets.Dataset.from_file(...).to_parquet(...))",
}
_CHUNK = 1 << 16
_PARQUET_BATCH = 512
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BETWEEN = re.compile(r"[ \t\r\n]*")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r} is there twice in one object; leave one of them")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; write a number, a text or null")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
# For where a value ends that the other refuses.
_lenient = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: the file, the row's number from 1, and the line it starts in where the file has lines."""

    path: str
    row: int
    line: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return f"{self.path}:row {self.row}"
        if self.path.endswith(LINES):
            return f"{self.path}:{self.line}"
        return f"{self.path}:{self.line} (row {self.row})"


class Row(NamedTuple):
    """One row as read; `problem` says why it could not be read, and `value` is then None."""

    place: Place
    value: object
    problem: str | None = None


def dataset_file(path: str | os.PathLike[str]) -> Path:
    """The dataset file at `path`, or the reason why there is none."""
    file = Path(path)
    if file.is_dir():
        found = sorted(entry.name for entry in file.iterdir() if entry.suffix.lower() in SUFFIXES)
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        inside = f"give one of the files in it: {shown}" if found else f"there is no dataset in it; give {ACCEPTED}"
        raise DatasetError(f"The dataset {str(path)!r} is a directory; {inside}.")
    if not file.exists():
        raise DatasetNotFoundError(f"There is no dataset at {str(path)!r}; give the path of {ACCEPTED}.")
    if file.suffix.lower() not in SUFFIXES:
        mend = _MENDS.get(file.suffix.lower(), "")
        raise DatasetError(f"The dataset {str(path)!r} ends in {file.suffix or 'nothing'!r}; give {ACCEPTED}{mend}.")
    return file


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Each row of the file, in order, read only when it is asked for.

    A row that cannot be read comes with its problem, so that a reader can go on; a file without any row raises.
    """
    file = dataset_file(path)
    name = str(path)
    rows = _parquet_rows(file, name) if file.suffix.lower() == ".parquet" else _text_rows(file, name)
    empty = True
    try:
        for row in rows:
            empty = False
            yield row
    except OSError as error:
        if isinstance(error, DatasetNotFoundError):
            raise
        raise DatasetError(f"The dataset {name!r} cannot be read: {error.strerror or error}.") from error
    if empty:
        raise DatasetNotFoundError(f"The dataset {name!r} is empty; it needs at least one row.")


def parse_json(text: str) -> tuple[object, str | None]:
    """The value that `text` holds, or what is wrong with it."""
    try:
        value: object = _decoder.decode(text)
    except json.JSONDecodeError as error:
        return None, f"broken JSON at column {error.colno}: {error.msg.removesuffix(' at')}; write one object a line"
    except (ValueError, RecursionError) as error:
        return None, _unreadable(error)
    if _SURROGATE.search(text) and not _encodable(value):
        return None, _HALF_CHARACTER
    return value, None


_HALF_CHARACTER = "a text holds half a character (an unpaired \\ud800-\\udfff escape); write the whole character"


def _unreadable(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply to be read"
    return f"the JSON cannot be read: {error}"


def _encodable(value: object) -> bool:
    """Whether a value is free of unpaired surrogates, which no tokenizer takes."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                return False
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return True


def _text_rows(file: Path, name: str) -> Iterator[Row]:
    if file.suffix.lower() in LINES:
        yield from _line_rows(file, name)
        return
    if _first_character(file) == "[":
        yield from _list_rows(file, name)
        return
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "")
    if not first.lstrip().startswith("{") or parse_json(first)[1] is None:
        yield from _line_rows(file, name)
    else:
        raise DatasetError(
            f"The dataset {name!r} is neither a list nor one object a line; "
            "write it as [{...}, {...}], or each object on one line of its own."
        )


def _first_character(file: Path) -> str:
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        while text := stream.read(_CHUNK):
            if text.strip():
                return text.lstrip()[0]
    return ""


def _line_rows(file: Path, name: str) -> Iterator[Row]:
    row = 0
    with file.open("rb") as stream:
        for line, raw in enumerate(stream, 1):
            if line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if not raw.strip():
                continue
            row += 1
            place = Place(name, row, line)
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                yield Row(place, None, f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")
                continue
            # With its line's end, the column of what is cut off would be counted from the line after.
            text = text.rstrip("\r\n")
            if "\r" not in text:
                yield Row(place, *parse_json(text))
                continue
            # Lines that end as on old Macs; inside JSON there is no such character.
            row -= 1
            for piece in filter(str.strip, text.split("\r")):
                row += 1
                yield Row(Place(name, row, line), *parse_json(piece))


def _list_rows(file: Path, name: str) -> Iterator[Row]:
    # newline="" keeps every character as it is, so that a column is the one an editor shows.
    with file.open(encoding="utf-8-sig", newline="") as stream:
        scanner = _Scanner(stream)
        place = Place(name, 1, 1)
        try:
            scanner.skip_space()
            scanner.take("[")
            number = 1
            while scanner.peek() != "]" or number > 1:
                place = Place(name, number, scanner.line)
                value, problem = scanner.value()
                yield Row(place, value, problem)
                if scanner.peek() != ",":
                    break
                scanner.take(",")
                scanner.skip_space()
                number += 1
            place = Place(name, number, scanner.line)
            scanner.take("]")
            if scanner.peek():
                yield Row(Place(name, number, scanner.line), None, "there is more after the end of the list")
        except _BrokenJsonError as error:
            yield Row(Place(name, place.row, error.line), None, f"broken JSON at column {error.column}: {error}")
        except UnicodeDecodeError as error:
            yield Row(place, None, f"not UTF-8 here or shortly after ({error.reason}); save the file as UTF-8")
        except (ValueError, RecursionError) as error:
            yield Row(place, None, _unreadable(error))


class _BrokenJsonError(Exception):
    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class _Scanner:
    """Takes JSON values off a stream, holding no more of it in memory than the value at hand."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._ended = False
        self._column = 1
        self.line = 1

    def peek(self) -> str:
        """The next character that is not space, or nothing at the end."""
        self.skip_space()
        return self._text[self._at : self._at + 1]

    def skip_space(self) -> None:
        while True:
            match = _BETWEEN.match(self._text, self._at)
            self._advance(match.end() if match else self._at)
            if self._at < len(self._text) or not self._more(_CHUNK):
                return

    def take(self, character: str) -> None:
        if self.peek() != character:
            raise self._broken(f"Expecting {character!r}", self._at)
        self._advance(self._at + 1)

    def value(self) -> tuple[object, str | None]:
        """The next value, or what is wrong with it."""
        self.skip_space()
        size = _CHUNK
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # More text may mend it; reading twice as much each time keeps the whole work linear.
                if self._more(size):
                    size *= 2
                    continue
                raise self._broken(error.msg, error.pos) from None
            except ValueError as error:
                _, end = _lenient.raw_decode(self._text, self._at)
                self._advance(end)
                return None, _unreadable(error)
            if end == len(self._text) and self._more(size):
                continue
            surrogates = _SURROGATE.search(self._text, self._at, end) is not None
            self._advance(end)
            return (None, _HALF_CHARACTER) if surrogates and not _encodable(value) else (value, None)

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        new = self._stream.read(size)
        self._ended = not new
        if new:
            self._text = self._text[self._at :] + new
            self._at = 0
        return bool(new)

    def _advance(self, end: int) -> None:
        self.line, self._column = self._position(end)
        self._at = end

    def _position(self, end: int) -> tuple[int, int]:
        lines = self._text.count("\n", self._at, end)
        if lines:
            return self.line + lines, end - self._text.rfind("\n", self._at, end)
        return self.line, self._column + end - self._at

    def _broken(self, message: str, position: int) -> _BrokenJsonError:
        return _BrokenJsonError(message, *self._position(position))


_MAY_BE_EMPTY = ("arguments", "parameters", "properties")


def without_filling(value: Any) -> Any:
    """A value of a column without the nulls that Arrow fills in: each object of a column has the keys of all.

    An object of nothing else was none, but where an empty one says something: arguments, parameters, properties.
    """
    if isinstance(value, list):
        return [without_filling(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        kept = without_filling(item)
        if kept is not None and (kept != {} or item == {} or key in _MAY_BE_EMPTY):
            found[key] = kept
    return found


def _parquet_rows(file: Path, name: str) -> Iterator[Row]:
    try:
        import pyarrow.parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise DatasetError(
            f"The dataset {name!r} is Parquet, which needs pyarrow: pip install pyarrow (or save it as .jsonl)."
        ) from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_PARQUET_BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(Place(name, number), without_filling(value))
    except pyarrow.ArrowException as error:
        raise DatasetError(f"The dataset {name!r} cannot be read as Parquet after row {number}: {error}") from error
