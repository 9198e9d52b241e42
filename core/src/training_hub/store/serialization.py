"""JSON that every reader takes: numbers that JSON has no word for are the texts "NaN", "Infinity" and "-Infinity"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NAMES = {repr(number): name for name, number in _NUMBERS.items()}
_TEXTS = frozenset({"prompt", "completion", "message"})
"""Names of what somebody may have said word for word."""


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Write a value; what JSON does not know is written as text."""
    try:
        return json.dumps(value, indent=indent, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_named(value), indent=indent, default=str)


def loads(text: str) -> Any:
    """Read a value that `dumps` wrote.

    Raises:
        ValueError: It is no JSON.
    """
    # Few texts hold such a number, and many are read.
    found = 'NaN"' in text or 'Infinity"' in text
    return json.loads(text, object_hook=_with_numbers if found else None)


def _named(value: Any) -> Any:
    if isinstance(value, float):
        return _NAMES.get(repr(value), value)
    if isinstance(value, Mapping):
        return {name: _named(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_named(entry) for entry in value]
    return value


def _with_numbers(found: dict[str, Any]) -> dict[str, Any]:
    return {name: entry if name in _TEXTS else _number(entry) for name, entry in found.items()}


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return _NUMBERS.get(value, value)
    return [_number(entry) for entry in value] if isinstance(value, list) else value
