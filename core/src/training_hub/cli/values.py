"""The text of an option as the value that its parameter's type asks for; whether it is allowed is checked later."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from training_hub.errors import ParameterError

_SCALARS = (str, int, float, bool)


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have, without bounds and None: `int | None` gives `(int,)`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(found for member in get_args(annotation) for found in members(member))
    return () if annotation in (None, type(None)) else (annotation,)


def writable(annotation: Any) -> bool:
    """Whether values of this type can be written as text: objects with behaviour cannot."""
    return all(
        member in (*_SCALARS, Any) or _is_path(member) or _is_choice(member) or is_list(member) or is_mapping(member)
        for member in members(annotation)
    )


def is_list(member: Any) -> bool:
    return member in (list, tuple) or (
        get_origin(member) in (list, tuple) and all(writable(item) for item in get_args(member) if item is not ...)
    )


def is_mapping(member: Any) -> bool:
    return member is dict or get_origin(member) is dict or hasattr(member, "__total__")


def _is_path(member: Any) -> bool:
    return (get_origin(member) or member) is PathLike


def _is_choice(member: Any) -> bool:
    return get_origin(member) is Literal


def choices(annotation: Any) -> list[str]:
    """The words that a value may be, where there are such."""
    return [str(word) for member in members(annotation) if _is_choice(member) for word in get_args(member)]


def kind(annotation: Any) -> str:
    """One word for the help text: NUMBER, TEXT, PATH, LIST, ..."""
    return "|".join(dict.fromkeys(_kinds(annotation)))


def _kinds(annotation: Any) -> Iterator[str]:
    found = members(annotation)
    for member in found:
        if _is_path(member):
            yield "PATH"
        elif is_list(member):
            yield "LIST"
        elif is_mapping(member):
            yield "MAPPING"
        elif _is_choice(member):
            yield "WORD"
        # A path may be given as text; saying so twice would be noise.
        elif member is not str or not any(map(_is_path, found)):
            yield {int: "INT", float: "NUMBER", bool: "BOOL", str: "TEXT"}.get(member, "YAML")


def value_of(name: str, annotation: Any, texts: Sequence[str]) -> Any:
    """The value that an option's text stands for; for a list, the texts of every time it was given.

    Raises:
        ParameterError: A list or mapping is written in a way that is no YAML.
    """
    found = members(annotation)
    lists = [member for member in found if is_list(member)]
    if not lists:
        return _single(name, found, texts[-1])
    if len(texts) == 1 and len(found) > 1 and not _looks_like_list(texts[0]):
        others = tuple(member for member in found if member not in lists)
        return _single(name, others, texts[0], quoted=texts[0].startswith('"'))
    of = members(get_args(lists[0])[0]) if get_args(lists[0]) else (Any,)
    return [item for text in texts for item in _items(name, of, text)]


def _looks_like_list(text: str) -> bool:
    return text.lstrip().startswith("[") or ("," in text and not text.startswith('"'))


def _items(name: str, of: tuple[Any, ...], text: str) -> list[Any]:
    # Quoted items may hold a comma: --target-patterns '"a,b", c'.
    if text.lstrip().startswith(("[", '"')):
        value = _yaml(name, text if text.lstrip().startswith("[") else f"[{text}]")
        return value if isinstance(value, list) else [value]
    return [_single(name, of, part.strip()) for part in text.split(",") if part.strip()]


def _single(name: str, found: tuple[Any, ...], text: str, quoted: bool = False) -> Any:
    texts = [member for member in found if member is str or _is_path(member)]
    words = [word for member in found if _is_choice(member) for word in get_args(member)]
    # Text alone is taken as it stands, so that a run may be called `12` or `null`.
    if len(texts) == len(found) and not quoted:
        return text
    if text in words:
        return text
    if text.startswith('"'):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if any(is_mapping(member) or member is Any for member in found):
        return _yaml(name, text)
    try:
        value = _yaml(name, text)
    except ParameterError:
        return text
    scalar = isinstance(value, bool | int | float)
    admitted = not texts or any(type(value) is member or (member is float and type(value) is int) for member in found)
    return value if scalar and admitted else text


def _yaml(name: str, text: str) -> Any:
    import yaml

    from training_hub.cli.yaml_text import one_line, parsed

    try:
        return parsed(text)
    except yaml.YAMLError as error:
        raise ParameterError(
            f"{name}: {text!r} is neither JSON nor YAML ({one_line(error)}); write a list as a,b or [a, b], and a "
            f"mapping as '{{key: value}}'"
        ) from error
