"""What a person gives to `train` and `plan`: the configuration file and the command line together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training_hub.cli.config_file import ConfigFile, read_config
from training_hub.cli.values import value_of
from training_hub.cli.yaml_text import one_line, parsed
from training_hub.errors import ConfigError, ParameterError
from training_hub.parameters.declaration import Parameter


@dataclass(frozen=True)
class Given:
    """Values by parameter name, and where those came from that the command line does not set."""

    algorithm: str
    backend: str | None
    values: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)


def given(
    algorithm: str,
    declared: Mapping[str, Parameter],
    options: Mapping[str, Any],
    assignments: Sequence[str] = (),
    config: Path | None = None,
) -> Given:
    """Join what was given; the command line wins over the file.

    Args:
        algorithm: The algorithm's name.
        declared: Its parameters.
        options: Values by parameter name from options of their own; None means "not given".
        assignments: Values as `name=value`.
        config: A configuration file.

    Raises:
        ConfigError: The file cannot be read as parameters.
        ParameterError: An assignment cannot be read, or says what an option says too.
    """
    file = read_config(config) if config else ConfigFile(Path())
    named = named_algorithm(file)
    if named not in (None, algorithm):
        raise ConfigError(
            f"{file.place('algorithm')}: the file is for the algorithm {named!r}, and the command line says "
            f"{algorithm!r}; leave one of them out"
        )
    here = {name: value for name, value in options.items() if value is not None}
    for name, value in _assigned(declared, assignments).items():
        if name in here:
            raise ParameterError(f"{name}: --set and --{name.replace('_', '-')} both give it; give one of them")
        here[name] = value
    from_file = {name: value for name, value in file.values.items() if name not in (*here, "algorithm")}
    values = from_file | here
    origin = {name: f"file {file.place(name)}" for name in from_file}
    backend = values.pop("backend", None)
    if backend is not None and not isinstance(backend, str):
        place = f" (from {origin['backend']})" if "backend" in origin else ""
        raise ParameterError(f"backend: expected the name of a backend; got {backend!r}{place}")
    return Given(algorithm, backend, values, origin)


def named_algorithm(file: ConfigFile) -> str | None:
    """The algorithm that a file is for, where it says so.

    Raises:
        ConfigError: It says something else than a name.
    """
    named = file.values.get("algorithm")
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"{file.place('algorithm')}: algorithm: expected a name, such as sft; got {named!r}")
    return named


def _assigned(declared: Mapping[str, Parameter], assignments: Sequence[str]) -> dict[str, Any]:
    texts: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ParameterError(f"--set {assignment}: expected NAME=VALUE, such as --set logging_first_step=true")
        if name in texts:
            raise ParameterError(f"--set {name}: it is given twice; give it once")
        texts[name] = text
    return {
        name: value_of(name, declared[name].type, [text])
        if name in declared and text != "null"
        else _further(name, text)
        for name, text in texts.items()
    }


def _further(name: str, text: str) -> Any:
    try:
        return parsed(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"--set {name}={text}: the value is no YAML: {one_line(error)}") from error
