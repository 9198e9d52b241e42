"""`training-hub new-plugin`: what it writes, told by the core alone, and what it refuses.

That what it writes trains, and passes its own tests, is for `tests/contract/test_new_plugin.py`.
"""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import training_hub
from training_hub import AlgorithmRegistry, SFTAlgorithm
from training_hub import plugin as contract
from training_hub.cli import main
from training_hub.plugins import discovery

PLACES = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}


@pytest.fixture(params=[False, True], ids=["backend", "algorithm"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A package, of a backend alone or with an algorithm."""
    wanted = ["--algorithm"] if request.param else []
    assert main(["new-plugin", "my-idea", *wanted, "--output-dir", str(tmp_path / "work")]) == 0
    return tmp_path / "work" / "training-hub-my-idea"


@pytest.fixture
def importable(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(made / "src")
    yield
    for name in [name for name in sys.modules if name.startswith("training_hub_my_idea")]:
        del sys.modules[name]


def sources(made: Path) -> dict[str, str]:
    return {str(path.relative_to(made)): path.read_text() for path in made.rglob("*") if path.is_file()}


def test_it_writes_a_whole_package(made: Path) -> None:
    found = sources(made)
    assert {
        ".gitignore",
        ".github/workflows/ci.yml",
        "README.md",
        "pyproject.toml",
        "src/training_hub_my_idea/__init__.py",
        "src/training_hub_my_idea/backend.py",
        "src/training_hub_my_idea/loop.py",
        "src/training_hub_my_idea/plugin.py",
        "src/training_hub_my_idea/py.typed",
        "src/training_hub_my_idea/rules.py",
        "tests/test_contract.py",
    } <= found.keys()
    project = tomllib.loads(found["pyproject.toml"])
    assert project["project"]["name"] == "training-hub-my-idea"
    assert f"training-hub>={version('training-hub')},<2" in project["project"]["dependencies"]
    entry = project["project"]["entry-points"][discovery.GROUP]
    assert entry == {"my-idea": "training_hub_my_idea.plugin"}
    assert "training-hub[testing]" in project["project"]["optional-dependencies"]["testing"]
    assert 'python-version: "${{ matrix.python }}"' in found[".github/workflows/ci.yml"]


def test_nothing_of_a_template_is_left_in_it(made: Path) -> None:
    for path, text in sources(made).items():
        left = [
            line for line in text.splitlines() if line.endswith(("#+", "#-", " ")) or "$" in line.replace("${{", "")
        ]
        assert not left, (path, left)


def test_the_loop_can_be_read(made: Path) -> None:
    loop = (made / "src" / "training_hub_my_idea" / "loop.py").read_text()
    assert len(loop.splitlines()) < 200
    assert max(map(len, loop.splitlines())) <= 120


def test_it_imports_of_the_hub_what_is_public(made: Path) -> None:
    public = {"training_hub": training_hub.__all__, "training_hub.plugin": contract.__all__}
    for path, text in sources(made).items():
        for node in ast.walk(ast.parse(text)) if path.endswith(".py") else ():
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "training_hub":
                if str(node.module).startswith("training_hub.testing"):
                    continue
                assert {alias.name for alias in node.names} <= set(public[str(node.module)]), path


@pytest.mark.usefixtures("importable")
def test_the_plugin_says_what_it_brings_and_what_becomes_of_every_parameter() -> None:
    plugin = importlib.import_module("training_hub_my_idea.plugin")
    backends = plugin.training_hub_backends()
    algorithms = {kind.name: kind for kind in getattr(plugin, "training_hub_algorithms", list)()}
    kind = backends["my-idea"]
    assert kind.algorithms == ("sft", *algorithms)
    with AlgorithmRegistry.registered(
        algorithms=algorithms, backends={(name, "my-idea"): kind for name in kind.algorithms}
    ):
        for name in kind.algorithms:
            algorithm = AlgorithmRegistry.get_algorithm(name)
            found = kind().translate(algorithm.resolve(PLACES, backend=kind))
            assert not found.problems and not found.without_rule
            assert found.arguments["AdamW"]["lr"] == 2e-5
            assert found.arguments["cross_entropy"] == {"label_smoothing": 0.0}
    refused = kind().translate(SFTAlgorithm.resolve({**PLACES, "nproc_per_node": 2, "amsgrid": True}, backend=kind))
    assert [problem.partition(":")[0] for problem in refused.problems] == ["amsgrid", "nproc_per_node=2"]


def test_it_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-plugin", "next", "--output-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'training-hub-next'}: 11 files.")
    assert 'pip install -e ".[testing]"' in said and said.endswith("  pytest\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["My Idea"], "'My Idea' cannot be the name of a plugin"),
        (["My_Idea"], "such as 'my-idea'"),
        (["2nd"], "such as 'my-backend'"),
        (["a--b"], "such as 'a-b'"),
        (["-"], "cannot be the name of a plugin"),
        (["../mine"], "such as 'mine'"),
        (["training-hub-mine"], "such as 'mine'"),
        (["trl"], "'trl' is the name of a plugin that there is already"),
        (["instructlab"], "'instructlab' is the name of a plugin that there is already"),
        (["sft", "--algorithm"], "'sft' is the name of an algorithm that there is already"),
        (["lora-sft", "--algorithm"], "'lora_sft' is the name of an algorithm that there is already"),
        (["dpo", "--algorithm"], "'dpo' is the name of an algorithm that there is already"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_a_line_and_nothing_is_written(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-plugin", "--output-dir", str(tmp_path / "work"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_installed_is_not_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"brought": discovery.Plugin("brought", "training-hub-other", "1.0", ())}
    monkeypatch.setattr(discovery, "installed", lambda: found)
    for name in ("brought", "other"):
        assert main(["new-plugin", name, "--output-dir", str(tmp_path)]) == 2
        assert (
            f"{name!r} is the name of a plugin that is installed here (training-hub-other)" in capsys.readouterr().err
        )
    assert not list(tmp_path.iterdir())


def test_a_directory_that_exists_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "training-hub-mine").mkdir()
    assert main(["new-plugin", "mine", "--output-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'training-hub-mine'} exists already")
    assert [path.name for path in tmp_path.rglob("*")] == ["training-hub-mine"]


def test_a_file_is_no_place_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["new-plugin", "mine", "--output-dir", str(tmp_path / "file")]) == 2
    assert "is a file, not a directory" in capsys.readouterr().err


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *args: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["new-plugin", "mine", "--output-dir", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())
