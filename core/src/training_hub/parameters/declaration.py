"""How a parameter is declared, and how declarations are read back.

A group of parameters is a `TypedDict` whose keys are `Annotated` with their bounds (annotated-types) and one `Param`:
the default and a line of help. Everything else (signature, docstring, validation, CLI option, YAML key, JSON Schema,
reference table) is derived from that one place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Final, Required, get_args, get_origin

from typing_extensions import get_type_hints


class _Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class Derived:
    """A default that follows from other parameters."""

    rule: str
    """The rule in words that a person reads, such as `the greater of 8192 and max_seq_len`."""
    compute: Callable[[Mapping[str, Any]], Any]

    def __repr__(self) -> str:
        return f"<{self.rule}>"


@dataclass(frozen=True)
class Param:
    """The part of a declaration that a type cannot say."""

    default: Any
    """The value when it is not given; `REQUIRED` where there is none, `Derived` where it follows from others."""
    help: str
    """A line for a person."""
    secret: bool = False
    """Whether its value is never shown or kept."""
    caller: bool = False
    """Whether it is for the caller's process alone: no backend is asked about it, no process that trains gets it, and a
    resumed run may differ in it."""


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of one algorithm."""

    name: str
    type: Any
    """The annotation with its bounds, as pydantic reads it."""
    default: Any
    """The value when it is not given, `REQUIRED`, or a `Derived`."""
    help: str
    group: str
    secret: bool = False
    caller: bool = False

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def bare_type(self) -> Any:
        """The annotation without its bounds."""
        return get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type


def declared(parameters: type, defaults: Mapping[str, Any]) -> dict[str, Parameter]:
    """Read the parameters of an algorithm from its `TypedDict`, group by group.

    Args:
        parameters: The algorithm's `TypedDict`; each class it inherits from is a group, titled by its docstring.
        defaults: The algorithm's own defaults, by parameter name, where they differ from the group's.
    """
    found = _declared(parameters)
    unknown = defaults.keys() - found.keys()
    if unknown:
        raise TypeError(f"{parameters.__name__}: defaults for undeclared parameters: {', '.join(sorted(unknown))}")
    return {
        name: replace(parameter, default=defaults[name]) if name in defaults else parameter
        for name, parameter in found.items()
    }


def merged(*several: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """All parameters of several declarations; the first one of a name counts.

    Raises:
        TypeError: One name is declared twice with different types.
    """
    found: dict[str, Parameter] = {}
    for each in several:
        for name, parameter in each.items():
            first = found.setdefault(name, parameter)
            if first.type != parameter.type:
                raise TypeError(
                    f"the parameter {name} is declared twice: in {first.group!r} as {first.type}, and in "
                    f"{parameter.group!r} as {parameter.type}"
                )
    return found


def _refuse_another(parameters: type, base: type) -> None:
    """Refuse what says of a parameter of `base` something else than `base` does."""
    hints = get_type_hints(parameters, include_extras=True)
    for name, hint in get_type_hints(base, include_extras=True).items():
        if hints[name] != hint:
            raise TypeError(
                f"{parameters.__name__}: {base.__name__} declares the parameter {name}, which is declared again with "
                "another type, default or help; give it another name, or its default in the algorithm's `defaults`"
            )


@cache
def _declared(parameters: type) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    inherited: set[str] = set()
    for base in getattr(parameters, "__orig_bases__", ()):
        if isinstance(base, type) and hasattr(base, "__total__"):
            found |= _declared(base)
            inherited |= base.__annotations__.keys()
            _refuse_another(parameters, base)
    title = (inspect.getdoc(parameters) or parameters.__name__).splitlines()[0].rstrip(".")
    hints = get_type_hints(parameters, include_extras=True)
    for name in parameters.__annotations__:
        if name in inherited:
            continue
        hint: Any = hints[name]
        if get_origin(hint) == Required:
            hint = get_args(hint)[0]
        annotation, *metadata = get_args(hint) if get_origin(hint) is Annotated else [hint]
        notes = [item for item in metadata if isinstance(item, Param)]
        if len(notes) != 1:
            raise TypeError(f"{parameters.__name__}.{name}: declare it as Annotated[type, bounds..., Param(...)]")
        bounds = tuple(item for item in metadata if not isinstance(item, Param))
        found[name] = Parameter(
            name=name,
            type=Annotated[(annotation, *bounds)] if bounds else annotation,
            default=notes[0].default,
            help=notes[0].help,
            group=title,
            secret=notes[0].secret,
            caller=notes[0].caller,
        )
    return found
