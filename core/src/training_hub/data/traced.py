"""Text that remembers which message each of its characters came from, through all that a chat template does with it."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, SupportsIndex

from training_hub.data.examples import REASONING as REASONING_KEYS

TEMPLATE: Final = "template"
CONTENT: Final = "content"
REASONING: Final = "reasoning"
DATA: Final = "data"
NOWHERE: Final = -1


class Run(NamedTuple):
    """Characters of one origin."""

    length: int
    message: int | None
    """The message that they belong to; None for what belongs to none."""
    source: str
    """What wrote them: the template itself, or which part of the message."""
    at: int
    """Where in that part the first of them stands; NOWHERE where that is not known."""

    def cut(self, start: int, stop: int) -> Run:
        return Run(stop - start, self.message, self.source, self.at if self.at == NOWHERE else self.at + start)


Runs = tuple[Run, ...]
Span = tuple[int, int]
"""From one character to before another."""


asked: ContextVar[set[str] | None] = ContextVar("asked", default=None)
"""Where it is gathered what a template looks for in contents."""


class Traced(str):
    """A text and its runs, in order. What a method of `str` gives that is not among these is plain text."""

    __slots__ = ("runs",)
    runs: Runs

    def __new__(cls, text: str, runs: Iterable[Run]) -> Traced:
        made = super().__new__(cls, text)
        made.runs = tuple(runs)
        return made

    @classmethod
    def of(cls, text: str, message: int | None, source: str, at: int = 0) -> Traced:
        """All of one origin."""
        return cls(text, (Run(len(text), message, source, at),) if text else ())

    def __str__(self) -> str:
        return self

    def __format__(self, spec: str) -> str:
        return self if not spec else super().__format__(spec)

    def __add__(self, other: str) -> Traced:
        return join(_NOTHING, (self, other))

    def __radd__(self, other: str) -> Traced:
        return join(_NOTHING, (other, self))

    def __mul__(self, count: SupportsIndex) -> Traced:
        return join(_NOTHING, [self] * count.__index__())

    __rmul__ = __mul__

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self.cut(start, stop)
            return join(_NOTHING, [self.cut(at, at + 1) for at in range(start, stop, step)])
        at = range(len(self))[key]
        return self.cut(at, at + 1)

    def __iter__(self) -> Iterator[str]:
        return (self.cut(at, at + 1) for at in range(len(self)))

    def __mod__(self, values: Any) -> str:
        given = iter(values if isinstance(values, tuple) else (values,))
        parts = re.split("(%s|%%)", self)
        if any("%" in part for part in parts[::2]) or isinstance(values, Mapping):
            return super().__mod__(values)
        return join(_NOTHING, ["%" if part == "%%" else str(next(given)) if part == "%s" else part for part in parts])

    def format(self, *values: Any, **named: Any) -> str:
        fields = list(string.Formatter().parse(self))
        if any(spec or kind or (name and not name.isalnum()) for _, name, spec, kind in fields):
            return super().format(*values, **named)
        numbers = iter(range(len(values)))
        made: list[str] = []
        for text, name, _, _ in fields:
            made.append(text)
            if name is not None:
                made.append(str(named[name] if name in named else values[int(name) if name else next(numbers)]))
        return join(_NOTHING, made)

    def cut(self, start: int, stop: int) -> Traced:
        """The characters from `start` to `stop`, both of which lie within it."""
        found = []
        at = 0
        for run in self.runs:
            first, last = max(start - at, 0), min(stop - at, run.length)
            if first < last:
                found.append(run.cut(first, last))
            at += run.length
            if at >= stop:
                break
        return Traced(str.__getitem__(self, slice(start, max(start, stop))), found)

    def _ask(self, *sought: str | None) -> None:
        gathered = asked.get()
        if gathered is not None and any(run.source == CONTENT for run in self.runs):
            gathered.update(text for text in sought if text)

    def __contains__(self, text: str, /) -> bool:  # type: ignore[override]
        self._ask(text)
        return super().__contains__(text)

    def startswith(self, prefix: str | tuple[str, ...], /, *places: SupportsIndex | None) -> bool:
        self._ask(*((prefix,) if isinstance(prefix, str) else prefix))
        return super().startswith(prefix, *places)

    def endswith(self, suffix: str | tuple[str, ...], /, *places: SupportsIndex | None) -> bool:
        self._ask(*((suffix,) if isinstance(suffix, str) else suffix))
        return super().endswith(suffix, *places)

    def find(self, text: str, /, *places: SupportsIndex | None) -> int:
        self._ask(text)
        return super().find(text, *places)

    def rfind(self, text: str, /, *places: SupportsIndex | None) -> int:
        self._ask(text)
        return super().rfind(text, *places)

    def count(self, text: str, /, *places: SupportsIndex | None) -> int:
        self._ask(text)
        return super().count(text, *places)

    def strip(self, characters: str | None = None, /) -> Traced:
        return self.lstrip(characters).rstrip(characters)

    def lstrip(self, characters: str | None = None, /) -> Traced:
        return self.cut(len(self) - len(str.lstrip(self, characters)), len(self))

    def rstrip(self, characters: str | None = None, /) -> Traced:
        return self.cut(0, len(str.rstrip(self, characters)))

    def removeprefix(self, prefix: str, /) -> Traced:
        return self.cut(len(prefix) if prefix and str.startswith(self, prefix) else 0, len(self))

    def removesuffix(self, suffix: str, /) -> Traced:
        return self.cut(0, len(self) - (len(suffix) if suffix and str.endswith(self, suffix) else 0))

    def split(self, separator: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        self._ask(separator)
        return self._pieces(str.split(self, separator, maxsplit), len(separator or ""))

    def rsplit(self, separator: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        self._ask(separator)
        found: list[str] = []
        end = len(self)
        for piece in reversed(str.rsplit(self, separator, maxsplit)):
            start = end - len(piece) if separator else str.rindex(self, piece, 0, end)
            found.append(self.cut(start, start + len(piece)))
            end = start - len(separator or "")
        return found[::-1]

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self._pieces(str.splitlines(self, keepends))

    def partition(self, separator: str, /) -> tuple[str, str, str]:
        self._ask(separator)
        at = str.find(self, separator)
        return self._parted(at, separator) if at >= 0 else (self, "", "")

    def rpartition(self, separator: str, /) -> tuple[str, str, str]:
        self._ask(separator)
        at = str.rfind(self, separator)
        return self._parted(at, separator) if at >= 0 else ("", "", self)

    def _parted(self, at: int, separator: str) -> tuple[str, str, str]:
        after = at + len(separator)
        return self.cut(0, at), self.cut(at, after), self.cut(after, len(self))

    def _pieces(self, pieces: list[str], between: int = 0) -> list[str]:
        found: list[str] = []
        at = 0
        for piece in pieces:
            at = str.index(self, piece, at)
            found.append(self.cut(at, at + len(piece)))
            at += len(piece) + between
        return found

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        self._ask(old)
        if not old:
            return super().replace(old, new, count)
        return join(new, self._split_at(old, count.__index__()))

    def _split_at(self, separator: str, count: int) -> list[str]:
        found: list[str] = []
        at = 0
        while count and (next_at := str.find(self, separator, at)) >= 0:
            found.append(self.cut(at, next_at))
            at = next_at + len(separator)
            count -= 1
        return [*found, self.cut(at, len(self))]

    def join(self, parts: Iterable[str], /) -> Traced:
        return join(self, parts)

    def _same_length(self, change: Callable[[str], str]) -> str:
        changed = change(self)
        return Traced(changed, self.runs) if len(changed) == len(self) else changed

    def upper(self) -> str:
        return self._same_length(str.upper)

    def lower(self) -> str:
        return self._same_length(str.lower)

    def title(self) -> str:
        return self._same_length(str.title)

    def capitalize(self) -> str:
        return self._same_length(str.capitalize)


_NOTHING = Traced("", ())


def runs_of(text: str) -> Runs:
    """The runs of any text; plain text is the template's own."""
    if isinstance(text, Traced):
        return text.runs
    return (Run(len(text), None, TEMPLATE, NOWHERE),) if text else ()


def join(separator: str, parts: Iterable[str]) -> Traced:
    """As `str.join`."""
    texts: list[str] = []
    runs: list[Run] = []
    between = runs_of(separator)
    for part in parts:
        if texts:
            runs += between
        texts.append(part)
        runs += runs_of(part)
    return Traced(str.join(separator, texts), runs)


class TracedMapping(dict[str, Any]):
    """An object of a message; `whole` where it is the message itself."""

    def __init__(self, values: Mapping[str, Any], message: int, whole: bool = False) -> None:
        super().__init__(values)
        self.message = message
        self.whole = whole

    def __str__(self) -> str:
        return Traced.of(super().__str__(), self.message, DATA, NOWHERE)


class TracedList(list[Any]):
    """A list of a message."""

    def __init__(self, values: Iterable[Any], message: int) -> None:
        super().__init__(values)
        self.message = message

    def __str__(self) -> str:
        return Traced.of(super().__str__(), self.message, DATA, NOWHERE)


def trace(message: Mapping[str, Any], index: int) -> TracedMapping:
    """A message of which every text but the role, which templates write into its header, knows where it comes from."""
    traced = {
        key: value if key == "role" else _traced(value, index, _SOURCES.get(key, DATA))
        for key, value in message.items()
    }
    return TracedMapping(traced, index, whole=True)


_SOURCES: Final = {"content": CONTENT, **dict.fromkeys(REASONING_KEYS, REASONING)}


def _traced(value: Any, message: int, source: str) -> Any:
    if isinstance(value, str):
        return Traced.of(value, message, source)
    if isinstance(value, Mapping):
        inside = {key: _traced(item, message, source if key == "text" else DATA) for key, item in value.items()}
        return TracedMapping(inside, message)
    if isinstance(value, list):
        return TracedList((_traced(item, message, source) for item in value), message)
    return value


def message_of(value: Any) -> int | None:
    """The message that a value belongs to, as far as it knows."""
    if isinstance(value, TracedMapping | TracedList):
        return value.message
    if isinstance(value, Traced):
        return next((run.message for run in value.runs if run.message is not None), None)
    if isinstance(value, Mapping):
        return next((found for item in value.values() if (found := message_of(item)) is not None), None)
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := message_of(item)) is not None), None)
    return None


def stretches_of(text: Traced, index: int) -> list[Span]:
    """Where a message's characters stand, without gaps where they touch."""
    found: list[Span] = []
    at = 0
    for run in text.runs:
        if run.message == index:
            start = found.pop()[0] if found and found[-1][1] == at else at
            found.append((start, at + run.length))
        at += run.length
    return found


def words_of(text: Traced, stretch: Span) -> Span | None:
    """From the first to the last character of a stretch that is not the template's own."""
    at = 0
    found: Span | None = None
    for run in text.runs:
        if stretch[0] <= at < stretch[1] and run.source != TEMPLATE and run.length:
            found = (found[0] if found else at, at + run.length)
        at += run.length
    return found
