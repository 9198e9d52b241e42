"""The framework's own arguments, of its classes and functions, read from its installed source without importing it.

Importing such a class can take seconds (it pulls in torch), and a misspelt keyword should be answered at once.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Optional, Union

from training_hub.errors import BackendUnavailableError


def fields_of(package: str, file: str, classes: tuple[str, ...]) -> frozenset[str]:
    """Names of the annotated fields that classes in one source file declare; see `types_of`."""
    return frozenset(types_of(package, file, classes))


@cache
def types_of(package: str, file: str, classes: tuple[str, ...]) -> Mapping[str, Any]:
    """The annotated fields that classes in one source file declare (dataclass and pydantic alike), with their types.

    Only simple types are read, and choices of them; any other is `Any`.

    Args:
        package: The top-level package, installed in this interpreter.
        file: Path of the source file inside it.
        classes: The classes whose own fields are read; inherited ones are in their own class's file.

    Raises:
        BackendUnavailableError: The package, file or a class is not there: the release has another layout.
    """
    bodies = {node.name: node.body for node in _source(package, file).body if isinstance(node, ast.ClassDef)}
    if missing := [name for name in classes if name not in bodies]:
        raise _moved(package, f"{file} has no class {', '.join(missing)}")
    return {
        statement.target.id: _type(statement.annotation)
        for name in classes
        for statement in bodies[name]
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
        and not statement.target.id.startswith("_")
    }


_SIMPLE = {kind.__name__: kind for kind in (bool, int, float, str, dict, list)}


def _type(annotation: ast.expr) -> Any:
    match annotation:
        case ast.Name(name):
            return _SIMPLE.get(name, Any)
        case ast.Constant(None):
            return None
        case ast.BinOp(left, ast.BitOr(), right):
            return Union[_type(left), _type(right)]  # noqa: UP007
        case ast.Subscript(ast.Name("Optional"), inner):
            return Optional[_type(inner)]  # noqa: UP045
        case ast.Subscript(ast.Name("Literal"), choices):
            return Literal[ast.literal_eval(choices)]
        case ast.Subscript(ast.Name("dict" | "list" as name)):
            return _SIMPLE[name]
    return Any


@cache
def parameters_of(package: str, file: str, function: str) -> frozenset[str]:
    """Names of the parameters of a function, or of a method given as `Class.method`, but for `self` and `*`, `**`.

    Args:
        package: The top-level package, installed in this interpreter.
        file: Path of the source file inside it.
        function: The function's name.

    Raises:
        BackendUnavailableError: The package, file or function is not there: the release has another layout.
    """
    body: list[ast.stmt] = _source(package, file).body
    *classes, name = function.split(".")
    for owner in classes:
        body = next((n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner), [])
    found = next((n for n in body if isinstance(n, ast.FunctionDef) and n.name == name), None)
    if found is None:
        raise _moved(package, f"{file} has no function {function}")
    listed = (*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs)
    return frozenset(argument.arg for argument in listed) - {"self", "cls"}


@cache
def keys_of(package: str, file: str, constant: str) -> frozenset[str]:
    """Keys of a dictionary that a module writes out at its top level: the names of choices, say.

    Raises:
        BackendUnavailableError: The package, file or dictionary is not there: the release has another layout.
    """
    for node in _source(package, file).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
            continue
        if constant in {target.id for target in node.targets if isinstance(target, ast.Name)}:
            return frozenset(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise _moved(package, f"{file} has no dictionary {constant}")


def _moved(package: str, missing: str) -> BackendUnavailableError:
    found = [f"{name} {version(name)}" for name in set(packages_distributions().get(package, ()))]
    return BackendUnavailableError(
        f"{' '.join(found) or package}: {missing}, which the backend needs: install a release that has it"
    )


@cache
def _source(package: str, file: str) -> ast.Module:
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for root in roots if (p := Path(root) / file).exists()), None)
    if path is None:
        raise _moved(package, f"it has no {file}")
    return ast.parse(path.read_text(encoding="utf-8"))
