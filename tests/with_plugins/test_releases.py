"""A plugin's wheel and the wheels of other releases of the core: each goes on working with the other, or says why not.

The next release is made here of this one's source: with one more parameter, one more hook, and one more event.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEXT = "1.99.0"


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new))


def unpacked(source: Path, target: Path) -> Path:
    """The wheel of a source tree, built and laid out as an installer would."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(target / "dist"),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = (target / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target / "site")
    return target / "site"


def copied(source: Path, target: Path) -> Path:
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("dist", "build", "__pycache__"))


@pytest.fixture(scope="module")
def next_core(tmp_path_factory):
    """A release of the core after this one."""
    place = tmp_path_factory.mktemp("next")
    core = copied(ROOT / "core", place / "core")
    package = core / "src" / "training_hub"
    edited(core / "pyproject.toml", f'version = "{version("training-hub")}"', f'version = "{NEXT}"')
    edited(
        package / "parameters" / "groups.py",
        "    trust_remote_code: Annotated[",
        '    haste: Annotated[int, Ge(0), Param(0, "How much faster.")]\n    trust_remote_code: Annotated[',
    )
    edited(
        package / "plugins" / "hookspecs.py",
        "@hookspec\ndef training_hub_demo()",
        "@hookspec\ndef training_hub_greetings() -> str:  # type: ignore[empty-body]\n"
        '    """Return a greeting."""\n\n\n@hookspec\ndef training_hub_demo()',
    )
    edited(
        package / "execution" / "session.py",
        "                result = self.backend.train(run)\n",
        '                run.events.emit("greeting", text="hello")\n                result = self.backend.train(run)\n',
    )
    return unpacked(core, place)


@pytest.fixture(scope="module")
def next_plugin(tmp_path_factory):
    """A release of the example plugin that uses the hook of the next core, and says so."""

    def make(requires: str, marker: str) -> Path:
        place = tmp_path_factory.mktemp("plugin")
        plugin = copied(ROOT / "tests" / "plugins" / "good", place / "good")
        pyproject = plugin / "pyproject.toml"
        pyproject.write_text(re.sub(r'"training-hub>=[^"]*"', f'"{requires}"', pyproject.read_text()))
        with (plugin / "src" / "training_hub_example" / "__init__.py").open("a") as module:
            module.write(f"\n\n{marker}\ndef training_hub_greetings() -> str:\n    return 'good day'\n")
        return unpacked(plugin, place)

    return make


def python(code: str, *places: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code where these wheels come before what is installed."""
    path = os.pathsep.join(map(str, places))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **variables},
    )


@pytest.fixture
def job(model, tmp_path):
    rows = tmp_path / "votes.jsonl"
    rows.write_text('{"better": "yes", "worse": "no"}\n')
    return {"model_path": str(model), "data_path": str(rows), "ckpt_output_dir": str(tmp_path / "out"), "rounds": 3}


def train(given: dict, *places: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import json\nfrom importlib.metadata import version\nfrom training_hub import create_algorithm\n"
        f"result = create_algorithm('votes', 'counting').train(**{given!r})\n"
        "print(json.dumps([version('training-hub'), result.state, result.metrics['step']]))"
    )
    return python(code, *places)


def test_a_plugin_built_before_works_with_a_core_of_one_more_parameter_hook_and_event(next_core, job, tmp_path):
    found = train(job, next_core)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout.splitlines()[-1]) == [NEXT, "completed", 3]
    events = [json.loads(line)["event"] for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert "greeting" in events and events[-1] == "end"
    shown = python(f"from training_hub.cli import main; main(['runs', 'show', {str(tmp_path / 'out')!r}])")
    assert shown.returncode == 0 and "completed" in shown.stdout


def test_the_new_parameter_is_refused_by_name_with_the_plugins_age_as_the_reason(next_core, job, tmp_path):
    assert train(job | {"haste": 0}, next_core).returncode == 0
    found = train(job | {"haste": 2, "ckpt_output_dir": str(tmp_path / "other")}, next_core)
    assert "haste=2: the counting backend cannot honour it: it has no rule for this parameter" in found.stderr
    assert "made for an older training-hub" in found.stderr
    assert not (tmp_path / "other").exists()


def test_a_plugin_that_needs_a_newer_core_is_listed_with_that_and_stops_nobody(next_plugin):
    newer = next_plugin(f"training-hub>={NEXT},<2", "@hookimpl")
    code = "from training_hub.cli import main; main(['backends', '--json'])"
    listed = {entry["name"]: entry for entry in json.loads(python(code, newer).stdout)}
    assert listed["example"]["state"] == "broken"
    here = version("training-hub")
    assert (
        f"needs training-hub<2,>={NEXT}, and {here} is installed: pip install --upgrade" in listed["example"]["reason"]
    )


def test_a_newer_plugin_whose_new_hook_is_optional_works_with_this_core(next_plugin, next_core, job):
    newer = next_plugin("training-hub>=1.1,<2", "@hookimpl(optionalhook=True)")
    for places in ((newer,), (newer, next_core)):
        found = train(job | {"overwrite_output_dir": True}, *places)
        assert found.returncode == 0, found.stderr


def test_a_run_of_this_release_is_gone_on_with_by_the_next(next_core, job, tmp_path):
    stop = (
        "from training_hub import TrainingHubCallback, create_algorithm\n"
        "class Stop(TrainingHubCallback):\n"
        "    def on_train_begin(self, context):\n"
        "        context.stop('enough')\n"
        f"print(create_algorithm('votes', 'counting').train(**{job | {'rounds': 20000}!r}, callbacks=Stop()).state)"
    )
    assert python(stop).stdout.split() == ["stopped"]
    found = train(job | {"rounds": 20000, "resume": True, "resume_changes": ["versions"]}, next_core)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout.splitlines()[-1]) == [NEXT, "completed", 20000]
