"""The walls of the house that docs/architecture.md draws: which rooms may know of which, read from the sources.

What a module imports inside a function counts. What it imports for types alone does not: a type says what a module is
told, not what it needs. Nor does a module that is named by a string, and imported when somebody asks for what it has.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import training_hub
from training_hub import plugin as contract

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "src"
HUB = "training_hub"
FLOOR = ("store", "parameters", "data", "errors", "callbacks.callback")
"""What everything else stands on. The parameter `callbacks` is of a type, so what a callback is belongs to it."""
WORKERS_ALONE = ("worker", "testing", "callbacks.generation", "launchers.meeting")
"""Where torch is used; all else may be needed in the caller's process, which has none, but where PyTorch's own launcher
has started it: there its ranks meet."""
NAMING = ("plugins.catalog", "compat.names")
"""Where frameworks are named: what is known of their plugins, and what the older package called its own."""
FRAMEWORKS = re.compile(r"(^|-)(trl|unsloth|instruct-?lab|mini-?trainer|peft)(-|$)")
HEAVY = ("torch", "transformers", "datasets", "tokenizers", "safetensors", "accelerate", "numpy")
PUBLIC = {HUB: {*training_hub.__all__, "plugin", "testing"}, f"{HUB}.plugin": set(contract.__all__)}
"""What a plugin may import, by module; of the kit, everything."""
OWN = {"unsloth": {"training_hub_unsloth", "training_hub_trl"}}


def sources(root: Path) -> dict[str, ast.Module]:
    """Every module below a directory by its name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(nodes: Iterable[ast.AST], *, types: bool = False) -> Iterator[tuple[str, str]]:
    """Module and name of everything imported, also inside functions; an empty name where the module itself is."""
    for node in nodes:
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")) if not types:
                yield from imports(node.orelse)
            case ast.Import():
                yield from ((alias.name, "") for alias in node.names)
            case ast.ImportFrom():
                assert not node.level and node.module, "modules are imported by their whole names"
                yield from ((node.module, alias.name) for alias in node.names)
            case _:
                yield from imports(ast.iter_child_nodes(node), types=types)


@cache
def modules() -> Mapping[str, ast.Module]:
    return sources(CORE)


@cache
def graph() -> Mapping[str, frozenset[str]]:
    """Each module of the core, and those of the core that it imports."""
    return {
        module: frozenset(
            whole if (whole := f"{source}.{name}") in modules() else source
            for source, name in imports([tree])
            if source.partition(".")[0] == HUB
        )
        for module, tree in modules().items()
    }


def inside(module: str, rooms: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{HUB}.{room}.") for room in rooms)


def reached(rooms: Iterable[str]) -> set[str]:
    """The modules of some rooms, and all that these need."""
    found: set[str] = set()
    todo = [module for module in graph() if inside(module, rooms)]
    while todo:
        if (module := todo.pop()) not in found:
            found.add(module)
            todo += graph()[module]
    return found


@pytest.mark.parametrize(("room", "other"), [("execution", "worker"), ("worker", "execution")])
def test_the_caller_and_the_workers_meet_only_in_what_both_stand_on(room: str, other: str) -> None:
    assert not [module for module in reached([room]) if inside(module, [other])]


def test_the_floor_stands_on_itself() -> None:
    assert not [module for module in reached(FLOOR) if not inside(module, FLOOR)]


def test_there_is_no_circle_of_modules() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_framework_is_named_outside_the_catalog() -> None:
    named = [
        f"{module}:{line}: {text!r}"
        for module, tree in modules().items()
        if not inside(module, NAMING)
        for line, text in words(tree)
        if FRAMEWORKS.search(split(text))
    ]
    assert not named


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name and every string of a module, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(str(text)) | ast.Name(text) | ast.Attribute(attr=text) | ast.alias(name=text):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.arg(text) | ast.keyword(str(text)):
                yield node.lineno, text
            case ast.ImportFrom(module=str(text)):
                yield node.lineno, text


def split(text: str) -> str:
    """A text as words with dashes between them: `AutoPeftModel` is `auto-peft-model`."""
    return "-".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)).lower()


def test_only_the_workers_rooms_know_of_torch() -> None:
    knowing = {
        module
        for module, tree in modules().items()
        for source, _ in imports([tree])
        if source.partition(".")[0] in HEAVY and not inside(module, WORKERS_ALONE)
    }
    assert not knowing


def test_importing_the_contract_and_the_callers_rooms_imports_no_torch() -> None:
    # Where it is not installed, an import that needs it fails.
    rooms = [module for module in modules() if not inside(module, WORKERS_ALONE)]
    code = (
        f"import sys\nfrom importlib import import_module\nimport training_hub, training_hub.plugin as contract\n"
        f"for module in {rooms}:\n    import_module(module)\n"
        f"for owner in (training_hub, contract):\n    [getattr(owner, name) for name in owner.__all__]\n"
        f"print([module for module in {HEAVY} if module in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "src").is_dir()))
def test_plugins_import_the_public_modules_alone(name: str) -> None:
    own = OWN.get(name, {f"training_hub_{name}"})
    private = [
        f"{module} imports {f'{part} from ' if part else ''}{source}"
        for module, tree in sources(ROOT / "plugins" / name / "src").items()
        for source, part in imports([tree], types=True)
        if (top := source.partition(".")[0]).startswith(HUB) and top not in own and not public(source, part)
    ]
    assert not private, "\n".join(private)


def public(source: str, name: str) -> bool:
    if source in PUBLIC:
        return not name or name in PUBLIC[source]
    return source == f"{HUB}.testing"


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_of_the_house_has_every_room() -> None:
    rooms = {module.split(".")[1] for module in modules() if module != HUB}
    assert not [room for room in sorted(rooms) if f"\n| `{room}` |" not in PAGE]


def test_the_page_of_the_house_names_what_there_is() -> None:
    rooms = {module.split(".")[1] for module in modules() if module != HUB}
    named = [name for name in re.findall(r"`(\w+(?:\.\w+)+)`", PAGE) if name.partition(".")[0] in rooms]
    assert len(named) > 40
    assert not [name for name in named if not exists(f"{HUB}.{name}")]


def exists(name: str) -> bool:
    """Whether there is such a module, or such a class, function or method in one."""
    module = next(m for m in sorted(modules(), key=len, reverse=True) if f"{name}.".startswith(f"{m}."))
    body: list[ast.stmt] = modules()[module].body
    for part in filter(None, name.removeprefix(module).split(".")):
        kinds = (ast.ClassDef, ast.FunctionDef)
        found = next((node for node in body if isinstance(node, kinds) and node.name == part), None)
        if found is None:
            return False
        body = found.body
    return True
