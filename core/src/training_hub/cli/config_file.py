"""A configuration file: YAML or JSON that sets parameters by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training_hub.cli.yaml_text import Loader, one_line, repeated
from training_hub.errors import ConfigError


@dataclass(frozen=True)
class ConfigFile:
    """What a file sets, and where it does so."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where the file sets `name`, as `FILE:LINE`."""
        return f"{self.path}:{self.lines[name]}"


def read_config(path: Path) -> ConfigFile:
    """Read a configuration file.

    Raises:
        ConfigError: It is missing, broken, no mapping, or says something twice; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"--config {path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: this is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read: {error.strerror or error}") from error
    strict = _json(path, text) if path.suffix.lower() == ".json" else None
    # Tabs may indent JSON and not YAML; inside JSON's texts there are none.
    node, values = _yaml(path, text if strict is None else text.replace("\t", " "))
    if node is None or node.tag.endswith(":null"):
        return ConfigFile(path)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path}:{_line(node)}: expected a mapping of parameters, such as `learning_rate: 2e-5`; got "
            f"{'a list' if isinstance(node, yaml.SequenceNode) else repr(node.value)}"
        )
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not key.tag.endswith(":str"):
            raise ConfigError(f"{path}:{_line(key)}: expected the name of a parameter; got {key.value!r}")
        lines[key.value] = _line(key)
    found: dict[str, Any] = values if strict is None else strict
    return ConfigFile(path, found, lines)


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: this is no JSON: {error.msg}") from error


def _yaml(path: Path, text: str) -> tuple[yaml.Node | None, Any]:
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        twice = next(repeated(node), None) if node else None
        values = loader.construct_document(node) if node and not twice else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: this is no YAML: {one_line(error)}") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = one_line(error) if isinstance(error, yaml.YAMLError) else str(error)
        raise ConfigError(f"{path}: this is no YAML: {problem}") from error
    if twice:
        first, second = twice
        raise ConfigError(
            f"{path}:{_line(second)}: {second.value} is given twice, first in line {_line(first)}; keep one of them"
        )
    return node, values


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
