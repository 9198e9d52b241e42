"""JSON Schema of an algorithm's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training_hub.parameters.declaration import Derived, Parameter
from training_hub.parameters.resolution import validation_model


def json_schema(algorithm: str, declared: Mapping[str, Parameter]) -> dict[str, Any]:
    """JSON Schema of a configuration file for the algorithm; editors complete and check YAML with it."""
    in_files = {name: parameter for name, parameter in declared.items() if name != "callbacks"}
    made: dict[str, Any] = validation_model(algorithm, tuple(in_files.values())).model_json_schema()
    properties = {"algorithm": {"const": algorithm, "description": "The algorithm that the file is for."}}
    for name, entry in made["properties"].items():
        if in_files[name].required or isinstance(in_files[name].default, Derived) or in_files[name].default is None:
            entry.pop("default", None)
        properties[name] = _for_editors(entry)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": algorithm,
        "type": "object",
        "properties": properties,
        # A file may leave to the command line what it likes, and may carry a backend's own arguments.
        "additionalProperties": True,
        **({"$defs": {name: _for_editors(entry) for name, entry in made["$defs"].items()}} if "$defs" in made else {}),
    }


def _for_editors(entry: dict[str, Any]) -> dict[str, Any]:
    """Without what pydantic adds to it: a title that repeats the name, and a path besides the text that names it."""
    entry = {key: value for key, value in entry.items() if key != "title"}
    if "properties" in entry:
        entry["properties"] = {name: _for_editors(nested) for name, nested in entry["properties"].items()}
    options = [_for_editors(option) for option in entry.pop("anyOf", []) if option.get("format") != "path"]
    # A file's null means "not given", for every parameter; to offer it in an editor helps nobody.
    some = [option for option in options if option != {"type": "null"}] or options
    return {**(some[0] if len(some) == 1 else {"anyOf": some} if some else {}), **entry}
