"""Directories of runs that release 1.0 wrote: shown, compared, and gone on with as before."""

from __future__ import annotations

import json

import pytest

from training_hub import sft
from training_hub.cli import main
from training_hub.store.manifest import read_manifest


@pytest.fixture
def older(job, stop_at, tmp_path):
    """A stopped run, whose manifest is written as 1.0 did: further keywords under `further`, and no figures."""
    assert sft(**job, callbacks=stop_at(40)).state == "stopped"
    path = tmp_path / "out" / "run.json"
    manifest = json.loads(path.read_text())
    del manifest["backend_kwargs"], manifest["figures"]
    manifest["further"] = {"momentum": 0.9}
    manifest["versions"]["training-hub"] = "1.0.0"
    path.write_text(json.dumps(manifest))
    return tmp_path / "out"


def test_its_further_keywords_are_read(older, capsys):
    manifest = read_manifest(older / "run.json")
    assert manifest.backend_kwargs == {"momentum": 0.9} and manifest.given["momentum"] == 0.9
    assert manifest.figures["loss"].unit and "agreement" not in manifest.figures
    assert main(["runs", "show", str(older)]) == 0
    assert "momentum" in capsys.readouterr().out


def test_what_differs_of_them_is_noticed_when_it_is_resumed(older, job):
    from training_hub.errors import ResumeError

    with pytest.raises(ResumeError, match=r"momentum: it was 0.9, and is None"):
        sft(**job, resume=True, resume_changes=["versions"])


def test_it_goes_on_to_its_end(older, job):
    result = sft(**job, resume=True, resume_changes=["versions", "momentum"])
    assert (result.state, result.metrics["step"]) == ("completed", 400)


def test_a_parameter_that_it_could_not_know_is_no_difference_at_its_default(older, job):
    path = older / "run.json"
    manifest = json.loads(path.read_text())
    del manifest["parameters"]["on_nan"]
    path.write_text(json.dumps(manifest))
    result = sft(**job, resume=True, resume_changes=["versions", "momentum"])
    assert result.state == "completed"
