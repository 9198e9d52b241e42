"""A class of a script's `__main__` as text that another process can run: the class, and what it needs of the script.

The script itself is not run again, for it would train again. Of its top level only definitions are taken: imports,
classes, functions, and values that are written out.
"""

from __future__ import annotations
import __future__

import ast
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from symtable import SymbolTable, symtable
from types import ModuleType
from typing import Any


class NotSentError(Exception):
    """Why a class of a script cannot be sent."""


def source_of(kind: type) -> tuple[str, str]:
    """The file of a script, and what of it makes a class of its `__main__`; each line is where it is in the file.

    Raises:
        NotSentError: It is no class of a file's top level, or needs something that is not written out there.
    """
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise NotSentError("a class of a notebook or of an interpreter is in no file that could be read")
    try:
        text = Path(file).read_text(encoding="utf-8")
        script = _Script(ast.parse(text))
    except (OSError, ValueError, SyntaxError) as error:
        raise NotSentError(f"its script {file} cannot be read: {error}") from error
    name = kind.__qualname__.partition(".")[0]
    if name not in script.definitions:
        raise NotSentError(f"{file} does not define {name} at its top level")
    return file, _at_their_lines(text, script.needed(name))


def class_from(file: str, text: str, name: str) -> Any:
    """The class that `source_of` gave the text of."""
    module = ModuleType(f"training_hub_main_{name}")
    module.__file__ = file
    # A dataclass looks for the module that it is in.
    sys.modules[module.__name__] = module
    # It is the caller's own text, which came by the job that the caller wrote.
    exec(compile(text, file, "exec", __future__.annotations.compiler_flag), vars(module))  # noqa: S102
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def imports_of(text: str) -> list[str]:
    """Modules that a text of `source_of` imports at its top level."""
    found: list[str] = []
    for node in ast.parse(text).body:
        match node:
            case ast.Import(names):
                found += [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0) if module != "__future__":
                found.append(module)
    return found


class _Script:
    """The top level of a script: which statement makes which name."""

    def __init__(self, tree: ast.Module) -> None:
        self.definitions: dict[str, ast.stmt] = {}
        self.computed: dict[str, int] = {}
        """Names that something else than a definition makes or may change, and in which line."""
        others = [node for node in tree.body if not _is_definition(node)]
        for node in tree.body:
            if _is_definition(node):
                self.definitions |= dict.fromkeys(_made(node), node)
        for node in others:
            changeable = [name for name in _used(node) if _is_changeable(self.definitions.get(name))]
            self.computed |= dict.fromkeys([*_made(node), *changeable], node.lineno)
        self._places = [(node.lineno, node.end_lineno or node.lineno) for node in tree.body]

    def needed(self, name: str) -> list[ast.stmt]:
        """The statements that make a name, and all that these need, in the script's order.

        Raises:
            NotSentError: One of them needs what is computed when the script runs.
        """
        found: dict[int, ast.stmt] = {}
        todo = [name]
        while todo:
            wanted = todo.pop()
            if line := self.computed.get(wanted):
                raise NotSentError(
                    f"it uses {wanted}, which the script computes as it runs (line {line}): hand it to the object as "
                    f"an attribute, or make it in on_train_begin"
                )
            node = self.definitions.get(wanted)
            if node is None or node.lineno in found:
                continue
            if sum(first <= node.lineno <= last for first, last in self._places) > 1:
                raise NotSentError(f"line {node.lineno} of the script has several statements: give each its own line")
            found[node.lineno] = node
            todo += _used(node)
        return [found[line] for line in sorted(found)]


def _is_definition(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return True
        case ast.Assign(targets, value):
            return all(isinstance(target, ast.Name) for target in targets) and _is_written_out(value)
        case ast.AnnAssign(ast.Name(), value=ast.expr() as value):
            return _is_written_out(value)
    return False


def _is_written_out(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_changeable(node: ast.stmt | None) -> bool:
    """Whether a name stands for a value that a statement can change without making the name anew."""
    return isinstance(node, ast.Assign | ast.AnnAssign) and not isinstance(node.value, ast.Constant)


def _table(node: ast.stmt) -> SymbolTable:
    return symtable(ast.unparse(_Unannotated().visit(deepcopy(node))), "script", "exec")


def _made(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of the top level makes there."""
    return (symbol.get_name() for symbol in _table(node).get_symbols() if symbol.is_assigned() or symbol.is_imported())


def _used(node: ast.stmt) -> list[str]:
    """The names that a statement, or what is in it, looks up at the top level."""
    return list(_looked_up([_table(node)]))


def _looked_up(tables: Iterable[SymbolTable]) -> Iterator[str]:
    for table in tables:
        yield from (
            symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()
        )
        yield from _looked_up(table.get_children())


class _Unannotated(ast.NodeTransformer):
    """Leaves out annotations: where the text is run they stay texts."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _at_their_lines(text: str, nodes: Iterable[ast.stmt]) -> str:
    """The text of some statements, each in the line that it has in the whole, so that tracebacks show it."""
    lines: list[str] = []
    whole = text.splitlines()
    for node in nodes:
        first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", ()))])
        lines += [""] * (first - 1 - len(lines))
        lines += whole[first - 1 : node.end_lineno]
    return "\n".join(lines)
