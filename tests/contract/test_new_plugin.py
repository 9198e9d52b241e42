"""What `training-hub new-plugin` writes builds, installs, is listed, and passes its own tests, at once.

Needs torch and transformers: run where a plugin with them is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

COMMAND = Path(sysconfig.get_path("scripts")) / "training-hub"


class Installed:
    """A package that was written, built, and laid out as an installer would."""

    def __init__(self, name, options, place):
        subprocess.run([COMMAND, "new-plugin", name, *options, "--output-dir", place], check=True, capture_output=True)
        self.source = place / f"training-hub-{name}"
        build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", place / "dist", self.source]
        subprocess.run([sys.executable, *build], check=True, capture_output=True)
        [wheel] = (place / "dist").glob("*.whl")
        self.site = place / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def run(self, *command):
        path = os.pathsep.join([str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=False, cwd=self.source, env=environment
        )


@pytest.fixture(scope="module", params=[("fresh", []), ("fresh-scores", ["--algorithm"])], ids=["backend", "algorithm"])
def made(request, tmp_path_factory):
    name, options = request.param
    return Installed(name, options, tmp_path_factory.mktemp(name))


def test_it_is_listed(made):
    listed = {entry["name"]: entry for entry in json.loads(made.run(COMMAND, "backends", "--json").stdout)}
    name = made.source.name.removeprefix("training-hub-")
    entry = listed[name]
    assert (entry["state"], entry["package"], entry["version"]) == ("available", made.source.name, "0.1.0")
    assert entry["algorithms"] == (["sft", "fresh_scores"] if name == "fresh-scores" else ["sft"])


@pytest.mark.slow
def test_its_own_tests_pass(made):
    ended = made.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    skipped = set(re.findall(r"^SKIPPED \[\d+\] [^:]+:\d+: (.*)$", ended.stdout, re.MULTILINE))
    assert all("it trains in one process" in why or "the kit measures on" in why for why in skipped), skipped
