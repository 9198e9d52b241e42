"""What editors and type checkers know of the functions that most people call: `api.pyi`, made from the functions.

At run time they take any arguments and have a signature that their declarations make, which no editor sees.
"""

from __future__ import annotations

import inspect
import json
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from training_hub import AlgorithmRegistry, api

WIDTH = 120
HEAD = '''"""The functions that most people call, as editors and type checkers see them.

Made from the declarations by `nox -s docs`; not to be edited. The default `...` is one that follows from others, or
stands where Python asks for one: what must be given is said to be required.
"""
'''


def stub(names: Iterable[str]) -> str:
    """The text of `api.pyi`, laid out as the formatter does.

    Args:
        names: The algorithms that have a function of their name.
    """
    algorithms = {name: AlgorithmRegistry.get_algorithm(name) for name in names}
    # Whoever creates an algorithm gets a type of its own, for the class's `train` serves every algorithm.
    made = {name: kind.__name__.removesuffix("Algorithm") for name, kind in algorithms.items()}
    functions = {name: getattr(api, name) for name in algorithms}
    signatures = {name: inspect.signature(function) for name, function in functions.items()}
    parts = [
        _imports([*algorithms.values(), *(p.annotation for s in signatures.values() for p in s.parameters.values())]),
        f"__all__ = {json.dumps(api.__all__)}\n",
        *(_function(name, signatures[name], functions[name].__doc__) for name in algorithms),
    ]
    for name, kind in algorithms.items():
        train = _function("train", _of_method(signatures[name]), functions[name].__doc__)
        note = f'"""`{name}` with its backend, ready to train."""'
        parts.append(f"@type_check_only\nclass {made[name]}({kind.__name__}):\n    {note}\n\n{indent(train, ' ' * 4)}")
    parts += [_creation(f'Literal["{name}"]', made[name]) for name in algorithms]
    # Editors show this documentation with each of the overloads.
    documentation = _documentation(inspect.getdoc(api.create_algorithm) or "")
    return "\n".join([HEAD, *parts, _creation("str", "Algorithm", f"\n{documentation}")])


def _imports(annotations: Iterable[Any]) -> str:
    homes = defaultdict(
        set,
        {
            "typing": {"Any", "Literal", "overload", "type_check_only"},
            "training_hub.algorithms.base": {"Algorithm"},
            "training_hub.store.result": {"TrainingResult"},
        },
    )
    for annotation in annotations:
        for found in _classes(annotation):
            if found.__module__ != "builtins":
                homes[found.__module__].add(found.__name__)
    lines = [f"from {home} import {', '.join(sorted(names))}" for home, names in sorted(homes.items())]
    ours = [line for line in lines if line.startswith("from training_hub")]
    return "\n".join([*(line for line in lines if line not in ours), "", *ours, ""])


def _classes(annotation: Any) -> Iterator[type]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _classes(arguments[0])
        return
    if origin is not types.UnionType and isinstance(found := origin or annotation, type):
        yield found
    for argument in arguments:
        yield from _classes(argument)


def _of_method(signature: inspect.Signature) -> inspect.Signature:
    """The signature of `train`: what must be given may be among the settings of `create_algorithm`."""
    optional = [
        parameter.replace(default=...)
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        else parameter
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *optional])


def _function(name: str, signature: inspect.Signature, documentation: str) -> str:
    lines = [_parameter(parameter) for parameter in signature.parameters.values()]
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    lines.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "    *,")
    return "\n".join([f"def {name}(", *lines, ") -> TrainingResult:", _documentation(documentation)])


def _parameter(parameter: inspect.Parameter) -> str:
    name = f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
    annotation = "" if parameter.annotation is parameter.empty else f": {_written(parameter.annotation)}"
    default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
    line = f"    {name}{annotation}{default},"
    # The same line stands four columns further to the right in a class.
    if len(line) + 4 <= WIDTH:
        return line
    before, _, rest = line.partition("[")
    values, _, after = rest.partition("]")
    listed = [f"        {value}," for value in values.split(", ")]
    return "\n".join([f"{before}[", *listed, "    ]" + after.replace(" |", "\n    |", 1)])


def _written(annotation: Any) -> str:
    """An annotation without its bounds, as a person writes it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _written(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(_value(value) for value in arguments)}]"
    if origin in (Union, types.UnionType):
        return " | ".join(_written(member) for member in arguments)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_written(argument) for argument in arguments)}]"
    return "None" if annotation is types.NoneType else str(annotation.__name__)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value) if value is None or isinstance(value, bool | int | float) else "..."


def _creation(name: str, made: str, body: str = " ...") -> str:
    return f"""\
@overload
def create_algorithm(
    algorithm_name: {name},
    backend_name: str | None = None,
    **settings: Any,
) -> {made}:{body}"""


def _documentation(text: str) -> str:
    return indent(f'"""{text}\n"""\n', " " * 4)
