"""`pip install "training-hub[trl]"` from a folder of wheels takes our packages, not the index's older one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import training_hub
import training_hub_trl

WHEELS = Path(os.environ.get("TRAINING_HUB_WHEELS", "dist"))


def test_the_packages_under_test_are_installed_ones():
    for module in (training_hub, training_hub_trl):
        assert "site-packages" in module.__file__


def test_the_extra_resolves_to_our_wheels(tmp_path):
    links = [f"--find-links={WHEELS / name}" for name in ("core", "trl")]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", *links]
    for requirement in ("training-hub[trl]", "training-hub-trl"):
        subprocess.run([*command, "--quiet", f"--report={report}", requirement], check=True)
        [found] = json.loads(report.read_text())["install"]
        assert found["metadata"]["version"].startswith("1.")
        assert found["download_info"]["url"].startswith("file:")
