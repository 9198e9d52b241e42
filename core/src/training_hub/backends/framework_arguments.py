"""The framework's own arguments, of its classes and functions, read from its installed source without importing it.

Importing such a class can take seconds (it pulls in torch), and a misspelt keyword should be answered at once. A
release whose sources lie elsewhere costs that check, and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Optional, TypeVar, Union

T = TypeVar("T")


class UnreadableSourceError(Exception):
    """The installed release has another layout than the one that is read; the message says what it lacks."""


class FrameworkSources:
    """Reads a framework's sources; what cannot be read is empty, and noted.

    Example:
        sources = FrameworkSources()
        types = sources.types_of("framework", "config.py", ("Config",))
        translate(..., accepts={"Config": types}, types=types, unread=sources.unread)
    """

    def __init__(self) -> None:
        self.unread: list[str] = []
        """Why something could not be read, once for each reason."""

    def types_of(self, package: str, file: str, classes: tuple[str, ...]) -> Mapping[str, Any]:
        """Fields of classes with their types; see the function of this name."""
        return self._read(lambda: types_of(package, file, classes), {})

    def fields_of(self, package: str, file: str, classes: tuple[str, ...]) -> frozenset[str]:
        """Names of the fields of classes."""
        return frozenset(self.types_of(package, file, classes))

    def parameters_of(self, package: str, file: str, function: str) -> frozenset[str]:
        """Names of the parameters of a function; see the function of this name."""
        return self._read(lambda: parameters_of(package, file, function), frozenset())

    def members_of(self, package: str, file: str, kind: str) -> frozenset[str]:
        """Values of the members of an enumeration; see the function of this name."""
        return self._read(lambda: members_of(package, file, kind), frozenset())

    def keys_of(self, package: str, file: str, constant: str) -> frozenset[str]:
        """Keys of a dictionary; see the function of this name."""
        return self._read(lambda: keys_of(package, file, constant), frozenset())

    def _read(self, read: Callable[[], T], empty: T) -> T:
        try:
            return read()
        except UnreadableSourceError as error:
            if str(error) not in self.unread:
                self.unread.append(str(error))
            return empty


@cache
def types_of(package: str, file: str, classes: tuple[str, ...]) -> Mapping[str, Any]:
    """The annotated fields that classes in one source file declare (dataclass and pydantic alike), with their types.

    Only simple types are read, and choices of them; any other is `Any`.

    Args:
        package: The top-level package, installed in this interpreter.
        file: Path of the source file inside it.
        classes: The classes whose own fields are read; inherited ones are in their own class's file.

    Raises:
        UnreadableSourceError: The package, file or a class is not there: the release has another layout.
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
        UnreadableSourceError: The package, file or function is not there: the release has another layout.
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
def members_of(package: str, file: str, kind: str) -> frozenset[str]:
    """Values of the members of an enumeration of texts.

    Args:
        package: The top-level package, installed in this interpreter.
        file: Path of the source file inside it.
        kind: The enumeration's name.

    Raises:
        UnreadableSourceError: The package, file or class is not there: the release has another layout.
    """
    for node in _source(package, file).body:
        if isinstance(node, ast.ClassDef) and node.name == kind:
            values = (statement.value for statement in node.body if isinstance(statement, ast.Assign))
            return frozenset(str(value.value) for value in values if isinstance(value, ast.Constant))
    raise _moved(package, f"{file} has no class {kind}")


@cache
def keys_of(package: str, file: str, constant: str) -> frozenset[str]:
    """Keys of a dictionary that a module writes out at its top level: the names of choices, say.

    Raises:
        UnreadableSourceError: The package, file or dictionary is not there: the release has another layout.
    """
    for node in _source(package, file).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
            continue
        if constant in {target.id for target in node.targets if isinstance(target, ast.Name)}:
            return frozenset(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise _moved(package, f"{file} has no dictionary {constant}")


def _moved(package: str, missing: str) -> UnreadableSourceError:
    found = [f"{name} {version(name)}" for name in set(packages_distributions().get(package, ()))]
    return UnreadableSourceError(f"{' '.join(found) or package}: {missing}")


@cache
def _source(package: str, file: str) -> ast.Module:
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for root in roots if (p := Path(root) / file).exists()), None)
    if path is None:
        raise _moved(package, f"it has no {file}")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise _moved(package, f"its {file} cannot be read") from error
