"""The older package of this import name, read from its last release's sources: importing it takes its frameworks."""

import ast
import os
import subprocess
import sys
import zipfile

import pytest

RELEASE = "training-hub==0.11.2"


class Older:
    """Its modules by name below the package, and what they define."""

    def __init__(self, root):
        self.modules = {}
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[name] = ast.parse(path.read_text(encoding="utf-8"))

    def names(self, module=""):
        """Its public functions and classes that are defined in a module."""
        kinds = (ast.FunctionDef, ast.ClassDef)
        return [node.name for node in self.modules[module].body if isinstance(node, kinds) and node.name[0] != "_"]

    def definition(self, module, *path):
        """A function, class or method."""
        found = self.modules[module]
        for name in path:
            found = next(node for node in found.body if getattr(node, "name", None) == name)
        return found

    def arguments(self, module, *path):
        """Names of the arguments that may be given by position, and of all; the type of each as it is written."""
        listed = self.definition(module, *path).args
        by_position = [argument for argument in listed.args if argument.arg not in ("self", "cls")]
        written = {
            argument.arg: ast.unparse(argument.annotation) if argument.annotation else ""
            for argument in (*by_position, *listed.kwonlyargs)
        }
        return [argument.arg for argument in by_position], written

    def exported(self):
        """Names of `__all__`."""
        return next(
            ast.literal_eval(node.value)
            for node in self.modules[""].body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )

    def looked_up(self, module, kind):
        """Values that a class looks up by name with a default, as `params.get(name, default)`."""
        return {
            node.args[0].value: ast.literal_eval(node.args[1])
            for node in ast.walk(self.definition(module, kind))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and len(node.args) == 2
            and all(isinstance(argument, ast.Constant) for argument in node.args)
        }


@pytest.fixture(scope="session")
def older(tmp_path_factory):
    if os.environ.get("PIP_NO_INDEX"):
        pytest.skip("no package index")
    place = tmp_path_factory.mktemp("older")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", RELEASE]
    subprocess.run([*command, "--dest", place], check=True, timeout=300)
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(place)
    return Older(place / "training_hub")
