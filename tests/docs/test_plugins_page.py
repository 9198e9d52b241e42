"""docs/plugins.md builds up a plugin: every block of it runs, section by section, as a reader would do it.

A block whose first line is a comment with a file's path is that file, as it then stands; the package is built and laid
out anew for each section. What a block of text after a command or a program says must be among what that prints, with
`...` for anything. Blocks under `<!-- needs torch -->` run where torch is: in `nox -s contract`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from training_hub import plugin as contract

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
BLOCK = re.compile(r"(?P<needs><!-- needs torch -->\n)?^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.(?:py|toml))\n")
BY_THE_TEST = re.compile(r"pip install |python -m (build|twine)\b")
"""Commands that are not run: the test itself builds and installs, and publishes nothing."""
TORCH = find_spec("torch") is not None and find_spec("transformers") is not None


@dataclass(frozen=True)
class Block:
    kind: str
    code: str
    needs_torch: bool
    expected: str = ""
    """What it must print."""

    @property
    def file(self) -> str | None:
        found = FILE.match(self.code)
        return found[1] if found else None


def sections() -> dict[str, list[Block]]:
    """The blocks of each section; of what comes before the first one, too."""
    parts = HEADING.split("## Start\n" + PAGE.read_text(encoding="utf-8"))[1:]
    return {title: list(blocks(text)) for title, text in zip(parts[::2], parts[1::2], strict=True) if "```" in text}


def blocks(text: str):
    found = [Block(match["kind"], match["code"], bool(match["needs"])) for match in BLOCK.finditer(text)]
    for block, after in pairwise([*found, None]):
        if block.kind != "text":
            yield Block(block.kind, block.code, block.needs_torch, after.code if after and after.kind == "text" else "")


class Reader:
    """Does what the page says, in a directory of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.site = place / "site"
        self.done: dict[str, Exception | None] = {}

    def read_to(self, title: str) -> None:
        """Do all sections up to this one; what fails in it is raised."""
        for each, found in sections().items():
            if each not in self.done:
                try:
                    self._do(found)
                    self.done[each] = None
                except Exception as error:
                    self.done[each] = error
            if each == title:
                break
        if (error := self.done[title]) is not None:
            raise error

    def _do(self, found: list[Block]) -> None:
        for block in found:
            if block.file:
                path = self.place / "work" / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.code, encoding="utf-8")
        if any(block.file for block in found):
            self._install()
        for block in found:
            if not block.file and (TORCH or not block.needs_torch):
                self._run(block)

    def _install(self) -> None:
        build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(self.place / "dist"), "."]
        subprocess.run([sys.executable, *build], cwd=self.place / "work", check=True, capture_output=True)
        [wheel] = (self.place / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def _run(self, block: Block) -> None:
        if block.kind == "python":
            commands = [[sys.executable, "-c", block.code]]
        else:
            assert block.kind == "bash", block
            lines = block.code.replace("\\\n", " ").splitlines()
            commands = [["bash", "-c", line] for line in lines if not BY_THE_TEST.match(line)]
        path = [str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        printed = ""
        for command in commands:
            ended = subprocess.run(
                command, cwd=self.place / "work", env=environment, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, f"{command[-1]}\n{ended.stdout}{ended.stderr}"
            printed += ended.stdout + ended.stderr
        for line in block.expected.splitlines():
            wanted = ".*".join(map(re.escape, line.split("...")))
            assert re.search(wanted, printed), f"{block.code}\nprints no {line!r}, but\n{printed}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    place = tmp_path_factory.mktemp("reader")
    (place / "work").mkdir()
    return Reader(place)


@pytest.mark.slow
@pytest.mark.parametrize("title", sections())
def test_the_blocks_of_a_section_run(reader, title):
    reader.read_to(title)


def test_every_block_is_one_that_runs():
    fences = PAGE.read_text(encoding="utf-8").count("\n```")
    text = PAGE.read_text(encoding="utf-8")
    assert fences == 2 * len(BLOCK.findall(text))
    assert {match["kind"] for match in BLOCK.finditer(text)} == {"python", "bash", "toml", "text"}


def test_the_list_of_names_is_that_of_the_module():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8").partition("## 10. ")[2], re.MULTILINE)
    assert sorted(listed) == sorted(contract.__all__)
