"""The framework's own arguments, of its classes and functions, read from its installed source without importing it.

Importing such a class can take seconds (it pulls in torch), and a misspelt keyword should be answered at once.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def fields_of(package: str, file: str, classes: tuple[str, ...]) -> frozenset[str]:
    """Names of the annotated fields that classes in one source file declare (dataclass and pydantic alike).

    Args:
        package: The top-level package, installed in this interpreter.
        file: Path of the source file inside it.
        classes: The classes whose own fields are read; inherited ones are in their own class's file.

    Raises:
        LookupError: The package, file or a class is not there: the framework is of a version with another layout.
    """
    bodies = {node.name: node.body for node in _source(package, file).body if isinstance(node, ast.ClassDef)}
    if missing := [name for name in classes if name not in bodies]:
        raise LookupError(f"{package}/{file} has no class {', '.join(missing)}")
    return frozenset(
        statement.target.id
        for name in classes
        for statement in bodies[name]
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
        and not statement.target.id.startswith("_")
    )


@cache
def parameters_of(package: str, file: str, function: str) -> frozenset[str]:
    """Names of the parameters of a function, or of a method given as `Class.method`, but for `self` and `*`, `**`.

    Args:
        package: The top-level package, installed in this interpreter.
        file: Path of the source file inside it.
        function: The function's name.

    Raises:
        LookupError: The package, file or function is not there: the framework is of a version with another layout.
    """
    body: list[ast.stmt] = _source(package, file).body
    *classes, name = function.split(".")
    for owner in classes:
        body = next((n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner), [])
    found = next((n for n in body if isinstance(n, ast.FunctionDef) and n.name == name), None)
    if found is None:
        raise LookupError(f"{package}/{file} has no function {function}")
    listed = (*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs)
    return frozenset(argument.arg for argument in listed) - {"self", "cls"}


@cache
def keys_of(package: str, file: str, constant: str) -> frozenset[str]:
    """Keys of a dictionary that a module writes out at its top level: the names of choices, say.

    Raises:
        LookupError: The package, file or dictionary is not there: the framework is of a version with another layout.
    """
    for node in _source(package, file).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
            continue
        if constant in {target.id for target in node.targets if isinstance(target, ast.Name)}:
            return frozenset(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise LookupError(f"{package}/{file} has no dictionary {constant}")


@cache
def _source(package: str, file: str) -> ast.Module:
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for root in roots if (p := Path(root) / file).exists()), None)
    if path is None:
        raise LookupError(f"{package} has no {file}")
    return ast.parse(path.read_text(encoding="utf-8"))
