"""Type-checks every Python block of the pages, each as the module that a reader would make of it.

A block whose first line is a comment with a file's path (`# my_plugin/backend.py`) is that file, which other blocks may
import; of several with one path the last is. `<!-- not checked: why -->` before a block leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "core/README.md", "docs/*.md", "plugins/*/README.md")
BLOCK = re.compile(
    r"(?P<skipped><!-- not checked: [^>]+ -->\s*)?^ *```python\n(?P<code>.*?)^ *```$", re.DOTALL | re.MULTILINE
)
PATH = re.compile(r"# ([\w/]+\.py)\b")


@dataclass(frozen=True)
class Block:
    """Python of a page."""

    page: Path
    line: int
    """Of the page, from 1: where the code begins."""
    code: str
    skipped: bool
    """Whether the page says that it is not checked."""

    @property
    def path(self) -> str | None:
        """The file that it says it is."""
        found = PATH.match(self.code)
        return found[1] if found else None


def blocks(page: Path) -> Iterator[Block]:
    """The Python blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(page, line, dedent(found["code"]), found["skipped"] is not None)


def write(found: list[Block], directory: Path) -> dict[Path, Path]:
    """Write blocks as modules whose lines have the numbers that they have in their page.

    Returns:
        The page of each module.
    """
    modules: dict[Path, Path] = {}
    files = {block.path: block for block in found if block.path}
    for block in found:
        if block.path and files[block.path] is block:
            module = directory / block.path
        else:
            name = "_".join(block.page.relative_to(ROOT).with_suffix("").parts)
            module = directory / f"{name}_{block.line}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text("\n" * (block.line - 1) + block.code, encoding="utf-8")
        modules[module] = block.page
    return modules


def main() -> int:
    pages = [page for pattern in PAGES for page in sorted(ROOT.glob(pattern))]
    found = [block for page in pages for block in blocks(page) if not block.skipped]
    with tempfile.TemporaryDirectory() as directory:
        modules = write(found, Path(directory).resolve())
        environment = {**os.environ, "MYPYPATH": directory}
        command = [sys.executable, "-m", "mypy", "--show-absolute-path", *map(str, modules)]
        checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = checked.stdout + checked.stderr
    for module, page in modules.items():
        said = said.replace(str(module), str(page.relative_to(ROOT)))
    print(said, end="")  # noqa: T201
    return checked.returncode


if __name__ == "__main__":
    sys.exit(main())
