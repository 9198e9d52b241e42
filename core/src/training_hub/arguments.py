"""The fields of a framework's own argument classes, read from its installed source without importing it.

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
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for root in roots if (p := Path(root) / file).exists()), None)
    if path is None:
        raise LookupError(f"{package} has no {file}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
    if missing := [name for name in classes if name not in bodies]:
        raise LookupError(f"{path} has no class {', '.join(missing)}")
    return frozenset(
        statement.target.id
        for name in classes
        for statement in bodies[name]
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
        and not statement.target.id.startswith("_")
    )
