"""Plugins of third parties as pip installs them: one good, with an algorithm of its own, and one that is broken.

Run in an environment that holds the built wheels of the core and of both examples.
"""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import training_hub
from training_hub import AlgorithmRegistry, create_algorithm, sft
from training_hub.errors import PluginError
from training_hub.plugins import discovery

COMMAND = str(Path(sysconfig.get_path("scripts")) / "training-hub")


def run(*arguments):
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_the_hub_is_the_built_wheel():
    assert "site-packages" in training_hub.__file__


def test_metadata_lists_both():
    assert {"example", "broken"} <= discovery.installed().keys()


def test_the_good_ones_backend_trains_although_the_other_is_broken():
    assert sft("m", "d", "o", backend="example", own=1)["own"] == 1
    assert "example" in AlgorithmRegistry.list_backends("sft")


def test_a_third_partys_algorithm_is_callable():
    found = create_algorithm("votes", "example").train(model_path="m", data_path="d", ckpt_output_dir="o", strength=0.2)
    assert (found["strength"], found["patience"]) == (0.2, 3)
    with pytest.raises(ValueError, match="strength: expected a number greater than 0; got -1"):
        create_algorithm("votes", "example").train(model_path="m", data_path="d", ckpt_output_dir="o", strength=-1)


def test_a_third_partys_algorithm_trains_from_the_command_line():
    found = run(
        "train", "votes", "--backend", "example", "--model-path", "m", "--data-path", "d", "--ckpt-output-dir", "o"
    )
    assert found.returncode == 0, found.stderr
    helped = run("train", "votes", "--help")
    assert "--strength" in helped.stdout


def test_the_broken_one_is_listed_with_its_reason():
    listed = json.loads(run("backends", "--json").stdout)
    [broken] = [entry for entry in listed if entry["name"] == "broken"]
    assert "cannot import name 'Trainer' from 'some_framework'" in json.dumps(broken)
    [good] = [entry for entry in listed if entry["name"] == "example"]
    assert good["state"] == "available" and set(good["algorithms"]) == {"sft", "votes"}


def test_the_broken_one_stops_a_run_that_asks_for_it():
    with pytest.raises(PluginError, match="cannot import name 'Trainer'"):
        sft("m", "d", "o", backend="broken")
    found = run(
        "train", "sft", "--model-path", "m", "--data-path", "d", "--ckpt-output-dir", "o", "--backend", "broken"
    )
    assert found.returncode == 2
    assert "cannot import name 'Trainer'" in found.stderr and "Traceback" not in found.stderr


def test_listing_imports_no_plugin_that_is_not_asked_for():
    code = (
        "import sys; from training_hub.plugins import discovery; discovery.installed(); "
        "print('training_hub_example' in sys.modules, 'training_hub_broken' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
