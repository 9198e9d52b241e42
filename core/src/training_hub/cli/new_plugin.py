"""Writes the package of a new plugin: small, whole, and tested, for its author to start from.

A template is a text in `templates/`, in which `$name` and the like stand for the plugin's names. A line that ends in
`#+` is written with an algorithm alone, one that ends in `#-` only without one.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import typer

from training_hub.errors import OutputDirectoryError, ParameterError
from training_hub.plugins import catalog, discovery
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.store.directory import check_writable

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

FILES: Mapping[str, str] = {
    ".github/workflows/ci.yml": "ci.yml",
    ".gitignore": "gitignore",
    "README.md": "README.md",
    "pyproject.toml": "pyproject.toml",
    "src/$module/__init__.py": "init.py",
    "src/$module/backend.py": "backend.py",
    "src/$module/loop.py": "loop.py",
    "src/$module/plugin.py": "plugin.py",
    "src/$module/py.typed": "py.typed",
    "src/$module/rules.py": "rules.py",
    "tests/test_contract.py": "test_contract.py",
}
"""Every file of the package, and its template."""
OF_AN_ALGORITHM: Mapping[str, str] = {
    "src/$module/algorithm.py": "algorithm.py",
    "src/$module/scored_loop.py": "scored_loop.py",
    "tests/test_rows.py": "test_rows.py",
}
"""Those that it has besides with an algorithm of its own."""


@dataclass(frozen=True)
class Names:
    """What a plugin is called in its files."""

    name: str

    @property
    def package(self) -> str:
        return f"training-hub-{self.name}"

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")

    @property
    def algorithm(self) -> str:
        return self.name.replace("-", "_")

    def words(self) -> dict[str, str]:
        """By what stands for each in a template."""
        core = version(discovery.CORE)
        return {
            "name": self.name,
            "package": self.package,
            "module": self.module,
            "algorithm": self.algorithm,
            "Kind": "".join(part.capitalize() for part in self.name.split("-")),
            "core": f">={core},<{int(core.partition('.')[0]) + 1}",
        }


def print_new_plugin(name: str, *, algorithm: bool, output_dir: Path) -> None:
    """Write a package, and print what to do with it."""
    made = write_plugin(name, algorithm=algorithm, output_dir=output_dir)
    count = sum(path.is_file() for path in made.rglob("*"))
    typer.echo(f"{made}: {count} files. Next, in an environment of its own:")
    for command in (f"cd {made}", 'pip install -e ".[testing]"', "training-hub backends", "pytest"):
        typer.echo(f"  {command}")


def write_plugin(name: str, *, algorithm: bool, output_dir: Path) -> Path:
    """Write a package and return its directory.

    Args:
        name: Of the plugin, its backend, and with underscores of its algorithm.
        algorithm: Whether it brings an algorithm of its own, with rows, a parameter and a figure.
        output_dir: Where the package's directory is made.

    Raises:
        ParameterError: No package can be named so, or something is named so already.
        OutputDirectoryError: The directory exists, or cannot be made.
    """
    if problem := _problem(name, algorithm):
        raise ParameterError(problem)
    names = Names(name)
    target = output_dir / names.package
    if target.exists():
        raise OutputDirectoryError(f"{target} exists already; move it away, or give another --output-dir")
    check_writable("--output-dir", output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=f".{names.package}-") as place:
        made = Path(place) / names.package
        for path, text in contents(names, algorithm=algorithm):
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        made.rename(target)
    return target


def contents(names: Names, *, algorithm: bool) -> Iterator[tuple[str, str]]:
    """Every file of a package, from its directory, and what is in it."""
    words = names.words()
    templates = files("training_hub.cli") / "templates"
    for path, template in {**FILES, **(OF_AN_ALGORITHM if algorithm else {})}.items():
        text = (templates / f"{template}.txt").read_text(encoding="utf-8")
        yield Template(path).substitute(words), Template(_chosen(text, algorithm)).substitute(words)


def _chosen(text: str, algorithm: bool) -> str:
    kept, left = ("#+", "#-") if algorithm else ("#-", "#+")
    lines = (line for line in text.splitlines() if not line.endswith(left))
    return "".join(f"{line.removesuffix(kept).rstrip()}\n" for line in lines)


def _problem(name: str, algorithm: bool) -> str | None:
    if not NAME.fullmatch(name) or Names(name).module.startswith("training_hub_training_hub"):
        plain = re.sub(r"^-?training-hub-?", "", re.sub(r"[^a-z0-9]+", "-", name.lower())).strip("-")
        such = plain if NAME.fullmatch(plain) else "my-backend"
        return (
            f"{name!r} cannot be the name of a plugin, whose package is training-hub-NAME: give small letters, digits "
            f"and single dashes, beginning with a letter, such as {such!r}"
        )
    package = Names(name).package
    if name in catalog.EXTRAS or name in catalog.EXTRAS.values():
        return f"{name!r} is the name of a plugin that there is already; give another one"
    for plugin in discovery.installed().values():
        if name == plugin.name or package in plugin.package.split(" and "):
            return f"{name!r} is the name of a plugin that is installed here ({plugin.package}); give another one"
    own = Names(name).algorithm
    if algorithm and own in {*AlgorithmRegistry.list_algorithms(), *_known_algorithms()}:
        return f"{own!r} is the name of an algorithm that there is already; give another one"
    return None


def _known_algorithms() -> Iterator[str]:
    return (name for names in catalog.ALGORITHMS.values() for name in names)
