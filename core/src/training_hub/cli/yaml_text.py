"""YAML text as values, by the rules of YAML 1.2: `2e-5` is a number; `no`, `12:30` and `2026-01-31` are text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, which are also those of JSON."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


def _integer(loader: Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


for _kind, _pattern, _first in _SCALARS:
    # An empty scalar is looked up under the empty text.
    _letters = ["" if letter == "\0" else letter for letter in _first]
    Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), _letters)
Loader.add_constructor(f"{_TAG}int", _integer)


def parsed(text: str) -> Any:
    """The value that YAML (or JSON) text stands for.

    Raises:
        yaml.YAMLError: The text is broken, or a mapping in it has a key twice.
    """
    loader = Loader(text)
    node = loader.get_single_node()
    if node is None:
        return None
    if twice := next(repeated(node), None):
        first, second = twice
        raise yaml.MarkedYAMLError(
            problem=f"{second.value} is given twice", problem_mark=second.start_mark, context_mark=first.start_mark
        )
    return loader.construct_document(node)


def repeated(node: yaml.Node, seen: set[int] | None = None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys that a mapping has twice, at any depth, each with the first."""
    # An alias leads to the same node again, and can lead in a circle.
    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from repeated(item, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in first:
                yield first[key.tag, key.value], key
            elif isinstance(key, yaml.ScalarNode):
                first[key.tag, key.value] = key
            yield from repeated(value, seen)


def one_line(error: yaml.YAMLError) -> str:
    """What is wrong with the text, without the position."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return " ".join(str(problem).split())
