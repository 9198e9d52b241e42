"""The built wheels, as an installer sees them."""

import email
import os
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

WHEELS = Path(os.environ.get("TRAINING_HUB_WHEELS", "dist"))
HEAVY = {"torch", "transformers", "numpy", "pandas", "datasets", "accelerate", "trl", "pyarrow", "matplotlib"}


def metadata(package):
    found = sorted((WHEELS / package).glob("*.whl"))
    if not found:
        pytest.fail(f"no wheel of {package} in {WHEELS}: run `nox -s build` first")
    with zipfile.ZipFile(found[0]) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


def requirements(package):
    return [Requirement(line) for line in metadata(package).get_all("Requires-Dist") or ()]


def test_the_core_asks_for_nothing_heavy():
    assert not {entry.name for entry in requirements("core") if entry.marker is None} & HEAVY


def test_an_older_release_of_the_name_can_never_be_taken_for_ours():
    # An unrelated 0.x of the same name is on the package index.
    assert Version(metadata("core")["Version"]) >= Version("1.0.0")
    for extra in ("trl", "instructlab", "minitrainer", "unsloth"):
        [asked] = [e for e in requirements("core") if e.marker and e.marker.evaluate({"extra": extra})]
        assert asked.name == f"training-hub-{extra}"
        assert "0.11.2" not in asked.specifier and metadata("core")["Version"] in asked.specifier


def test_no_extra_asks_for_what_cannot_be_installed_together():
    for extra in metadata("core").get_all("Provides-Extra"):
        asked = {e.name for e in requirements("core") if e.marker and e.marker.evaluate({"extra": extra})}
        assert len(asked) == 1, extra
