"""Callbacks as data: where the class is found and the object's attributes, as every rank makes its own of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from training_hub.callbacks.callback import TrainingHubCallback
from training_hub.callbacks.script import NotSentError, class_from, imports_of, source_of
from training_hub.errors import ParameterError

ASIDE = "with run_on_all_ranks=False it runs in the caller's process, whatever it is"


def deserialized(callback: Mapping[str, Any]) -> TrainingHubCallback:
    """The callback that was described, as it was then; its `__init__` is not called again.

    Raises:
        ParameterError: Its class cannot be imported here.
    """
    module, _, name = callback["class"].partition(":")
    try:
        kind: Any
        if script := callback.get("script"):
            kind = class_from(script["file"], script["text"], name)
        else:
            kind = import_module(module)
            for part in name.split("."):
                kind = getattr(kind, part)
    # Whatever a module does when it is imported may fail.
    except Exception as error:
        raise ParameterError(
            f"callbacks: {callback['class']} cannot be imported in the processes that train: "
            f"{type(error).__name__}: {error} ({ASIDE})"
        ) from error
    found: TrainingHubCallback = kind.__new__(kind)
    vars(found).update(json.loads(callback["attributes"]))
    return found


def serialized(callback: TrainingHubCallback) -> dict[str, Any]:
    """The data that `deserialized` makes the callback of.

    Raises:
        ParameterError: Other processes cannot import its class, or an attribute is nothing that JSON has.
    """
    kind = type(callback)
    found: dict[str, Any] = {"class": f"{kind.__module__}:{kind.__qualname__}"}
    try:
        _refuse_unnamed(kind)
        if kind.__module__ == "__main__":
            file, text = source_of(kind)
            found["script"] = {"file": file, "text": text}
    except NotSentError as error:
        raise ParameterError(
            f"callbacks: {kind.__name__} has run_on_all_ranks=True, so every rank makes one of its own, and {error}; "
            f"or put the class in a module ({ASIDE})"
        ) from error
    for name, value in vars(callback).items():
        if not _is_json(value):
            raise ParameterError(
                f"callbacks: {kind.__name__} has run_on_all_ranks=True, so its attributes are sent as JSON, and "
                f"{name}, {_shown(value)}, would not arrive as it is; make it when training begins, in on_train_begin"
            )
    return found | {"attributes": json.dumps(vars(callback))}


def needed_modules(callback: Mapping[str, Any]) -> list[str]:
    """The modules that are imported where a callback is made of its data."""
    script = callback.get("script")
    return imports_of(script["text"]) if script else [callback["class"].partition(":")[0]]


def _refuse_unnamed(kind: type) -> None:
    """Refuse a class that its module does not have under its name.

    Raises:
        NotSentError: It is one.
    """
    if "<locals>" in kind.__qualname__:
        raise NotSentError(f"a class made in a function ({kind.__qualname__}) has no name that they could import")
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not kind:
        raise NotSentError(f"{kind.__module__} has no {kind.__qualname__}, or another one")


def _is_json(value: Any) -> bool:
    """Whether a value comes back from JSON as it is: of these types and of none that derives from them."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if type(value) is list:
        return all(map(_is_json, value))
    return type(value) is dict and all(type(name) is str and _is_json(held) for name, held in value.items())


def _shown(value: Any, most: int = 60) -> str:
    text = repr(value)
    return f"a {type(value).__name__}: {text if len(text) <= most else text[: most - 3] + '...'}"
