"""Values of rows in words, for messages about what is wrong with them."""

from __future__ import annotations

import json

from training_hub.errors import nearest


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, name in ((str, "a text"), (int, "a number"), (float, "a number"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return f"of type {type(value).__name__}"


def shown(value: object) -> str:
    if isinstance(value, (list, dict)):
        return kind_of(value)
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def near(name: object, known: tuple[str, ...]) -> str:
    # Comparing is quadratic in the length, and a long text is no mistyped name.
    return nearest(name, known) if isinstance(name, str) and len(name) <= 40 else ""
