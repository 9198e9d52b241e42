"""What `osft` protects of a model is told and kept, and too little is refused before anything is trained."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training_hub import osft
from training_hub.errors import ParameterError
from training_hub.plugin import preserved_rank
from training_hub.store.directory import read_json
from training_hub_trl.osft import protected_share

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mixtral"
    make("mixtral", path)
    return path


@pytest.fixture
def asked(job, mixture):
    return job | {"model_path": mixture, "unfreeze_rank_ratio": 0.5, "num_epochs": 1}


def test_what_is_protected_is_told_before_the_first_step_and_kept(asked, events):
    result = osft(**asked)
    [told] = events(result.run_dir, "protection")
    assert told["time"] < events(result.run_dir, "start")[0]["time"]
    kinds = told["kinds"]
    for kind in ("attention", "experts"):
        assert kinds[kind]["protected"] == kinds[kind]["trained"] > 0
    assert kinds["embeddings"]["protected"] == kinds["norms"]["protected"] == 0
    assert 0.98 < told["share"] < 1
    assert read_json(result.run_dir / "run.json")["protection"] == {"share": told["share"], "kinds": kinds}
    before, after = (load_file(path / "model.safetensors") for path in (asked["model_path"], result.checkpoint))
    experts = [name for name in before if "experts" in name]
    assert experts and before.keys() == after.keys()
    for name in experts:
        assert not torch.equal(before[name], after[name])
        # Saved by expert, where the model holds gate and up as one matrix.
        if "w2" in name:
            assert protected_share(before[name], after[name], preserved_rank(before[name].shape, 0.5)) < 1e-3


def test_too_little_is_refused_with_the_figures_unless_it_is_allowed(asked, events):
    asked["target_patterns"] = ["self_attn"]
    with pytest.raises(ParameterError) as refused:
        osft(**asked)
    message = str(refused.value)
    assert "min_protected_share=0.5: OSFT would protect 11.1%" in message
    assert "attention 100% of" in message and "experts 0% of" in message
    assert not (asked["ckpt_output_dir"] / "events.jsonl").exists()
    allowed = osft(**asked, min_protected_share=0.1)
    assert events(allowed.run_dir, "step")
    assert read_json(allowed.run_dir / "run.json")["protection"]["share"] == pytest.approx(0.111, abs=1e-3)


def test_nothing_is_asked_of_a_run_that_protects_nothing_on_purpose(asked, events):
    result = osft(**asked | {"unfreeze_rank_ratio": 1.0})
    assert events(result.run_dir, "protection")[0]["share"] == 0


def test_a_run_whose_experts_are_protected_goes_on_as_if_it_had_not_stopped(asked, losses, tmp_path):
    asked |= {"num_epochs": 2, "checkpoint_at_epoch": True}
    whole = osft(**asked)
    again = osft(**asked | {"ckpt_output_dir": tmp_path / "again", "resume": whole.run_dir / "checkpoint-7"})
    assert losses(again.run_dir) == losses(whole.run_dir)[7:]
