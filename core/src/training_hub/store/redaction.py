"""Keeps passwords that somebody wrote into a URL out of what is kept or shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_IN_A_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s\"'<>]+@")


_MASK = "***"


def without_credentials(text: str) -> str:
    """The text with `https://user:password@host` as `https://***@host`."""
    return _IN_A_URL.sub(rf"\g<scheme>{_MASK}@", text) if "://" in text else text


def was_masked(value: Any) -> bool:
    """Whether credentials were taken out of this text."""
    return isinstance(value, str) and f"://{_MASK}@" in value


def masked(value: Any) -> Any:
    """Plain data, whose texts are without credentials."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {name: masked(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [masked(entry) for entry in value]
    return value
