"""Declarations in words and in forms that other tools read: expectations, signature, docstring, table."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen

from training_hub.parameters.declaration import REQUIRED, Derived, Parameter

_PLAIN = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}


def expectation(annotation: Any) -> str:
    """What a value of this type is, for a person: `a number greater than 0`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return expectation(arguments[0]) + _bounds(arguments[1:])
    if origin is Literal:
        return _either(repr(value) for value in arguments)
    if origin in (Union, types.UnionType):
        said = [expectation(member) for member in arguments if member is not type(None)]
        # Wherever a path object is taken, its text is taken too.
        return _either(word for word in said if word != "text" or "a path" not in said)
    if origin in (list, tuple, Sequence):
        return f"a list of {expectation(arguments[0])}" if arguments else "a list"
    if origin is dict or hasattr(annotation, "__total__"):
        return "a mapping"
    return (
        _PLAIN.get(annotation) or {"PathLike": "a path"}.get(getattr(annotation, "__name__", "")) or _name(annotation)
    )


def _name(annotation: Any) -> str:
    origin = get_origin(annotation) or annotation
    return "a path" if getattr(origin, "__name__", "") == "PathLike" else getattr(origin, "__name__", str(annotation))


def _either(options: Iterable[str]) -> str:
    *most, last = dict.fromkeys(options)
    return f"{', '.join(most)} or {last}" if most else last


def _bounds(metadata: Iterable[Any]) -> str:
    said: list[str] = []
    for bound in metadata:
        parts = list(bound) if isinstance(bound, Interval) else [bound]
        for part in parts:
            match part:
                case Ge():
                    said.append(f"of at least {part.ge}")
                case Gt():
                    said.append(f"greater than {part.gt}")
                case Le():
                    said.append(f"at most {part.le}")
                case Lt():
                    said.append(f"less than {part.lt}")
                case MinLen(min_length=1):
                    said.append("that is not empty")
                case _:
                    pass
    return f" {' and '.join(said)}" if said else ""


def default_text(parameter: Parameter) -> str:
    """The default as a person reads it."""
    if parameter.default is REQUIRED:
        return "required"
    if isinstance(parameter.default, Derived):
        return parameter.default.rule
    return repr(parameter.default)


def signature(declared: Mapping[str, Parameter], positional: Iterable[str]) -> inspect.Signature:
    """The signature of an algorithm's function: `positional` names first, the others by keyword, then any other."""
    leading = list(positional)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if name in leading else inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if parameter.required else parameter.default,
            annotation=parameter.bare_type,
        )
        for name in (*leading, *(n for n in declared if n not in leading))
        for parameter in (declared[name],)
    ]
    # Python allows no parameter without a default after one that has one; osft's old order has such.
    seen_default = False
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            if seen_default and parameter.default is inspect.Parameter.empty:
                parameters[index] = parameter.replace(default=REQUIRED)
            seen_default = seen_default or parameter.default is not inspect.Parameter.empty
    others = inspect.Parameter("backend_kwargs", inspect.Parameter.VAR_KEYWORD, annotation=Any)
    return inspect.Signature([*parameters, others])


def docstring(summary: str, declared: Mapping[str, Parameter]) -> str:
    """The docstring of an algorithm's function, its parameters by group."""
    lines = [inspect.cleandoc(summary), "", "Args:"]
    for parameter in declared.values():
        said = f"{parameter.name}: {parameter.help} ({_facts(parameter)})"
        lines += wrap(said, 108, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False)
    lines += [
        "    **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.",
        "",
        "Returns:",
        "    A TrainingResult; from a backend that only writes execute_training, what that returned.",
        "",
        "Raises:",
        "    UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.",
        "    TrainingFailedError: Training started and did not finish.",
    ]
    return "\n".join(lines)


def _facts(parameter: Parameter) -> str:
    default = default_text(parameter)
    return expectation(parameter.type) + ("; required" if parameter.required else f"; default {default}")


def table(declared: Mapping[str, Parameter]) -> str:
    """The reference table of an algorithm's parameters, in Markdown, a section for each group."""
    lines: list[str] = []
    group = ""
    for parameter in declared.values():
        if parameter.group != group:
            group = parameter.group
            lines += ["", f"### {group}", "", "| parameter | value | default | meaning |", "|---|---|---|---|"]
        value = expectation(parameter.type).replace("|", "\\|")
        lines.append(f"| `{parameter.name}` | {value} | {default_text(parameter)} | {parameter.help} |")
    return "\n".join(lines[1:]) + "\n"


def misfit(value: Any, kind: Any) -> str | None:
    """Why a value that goes on as it is does not fit a type, or None: a text that could be read as a number is none.

    Args:
        value: The value.
        kind: The type, as an annotation.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError:
        return f"expected {expectation(kind)}; got {value!r}"
    return None
