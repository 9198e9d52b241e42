"""Which weights OSFT decomposes: those of the model that mini-trainer would load, which has no memory yet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from minitrainer_runs import backend_on_cpu, events, losses

from training_hub import osft, sft
from training_hub.errors import ParameterError
from training_hub.store.directory import read_json
from training_hub.worker.osft_targets import target_layers
from training_hub_minitrainer.targets import skeleton

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make


def test_a_pattern_is_any_part_of_a_weights_name(model: Path) -> None:
    plain = skeleton(str(model), trust_remote_code=False)
    assert target_layers(plain, ["1.mlp.up"]) == ["model.layers.1.mlp.up_proj"]
    assert target_layers(plain, ["lm_head"]) == ["lm_head"]


@pytest.mark.parametrize("pattern", ["embed_tokens", "norm", "self_attn.q_porj"])
def test_what_is_no_linear_layer_or_not_there_is_refused_with_the_names_there_are(model: Path, pattern: str) -> None:
    plain = skeleton(str(model), trust_remote_code=False)
    with pytest.raises(ParameterError, match=rf"'{pattern}'.*mlp.up_proj, self_attn.k_proj"):
        target_layers(plain, ["q_proj", pattern])


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts whose config asks for a router loss, as some that are published do."""
    directory = tmp_path_factory.mktemp("model") / "mixtral"
    make("mixtral", directory, output_router_logits=True, router_aux_loss_coef=0.5)
    return directory


def test_experts_are_not_protected_here_and_that_is_refused_unless_it_is_allowed(
    mixture: Path, rows: Path, tmp_path: Path
) -> None:
    asked = {
        **{"model_path": mixture, "data_path": rows, "ckpt_output_dir": tmp_path, "backend": "mini-trainer"},
        **{"unfreeze_rank_ratio": 0.5, "num_epochs": 1, "effective_batch_size": 16, "max_seq_len": 128},
    }
    with backend_on_cpu():
        with pytest.raises(ParameterError, match=r"protect 11\.1% .*attention 100% .*experts 0% "):
            osft(**asked)
        assert osft(**asked, min_protected_share=0.1).state == "completed"
    [told] = events(tmp_path, "protection")
    assert told["kinds"]["experts"]["protected"] == 0 < told["kinds"]["attention"]["protected"]
    assert read_json(tmp_path / "run.json")["protection"]["share"] == told["share"]


def test_a_router_loss_that_nobody_asked_for_is_off_and_the_micro_batch_does_not_matter(
    mixture: Path, rows: Path, tmp_path: Path
) -> None:
    told = []
    with backend_on_cpu(float32=True):
        for most in (128, 4096):
            out = tmp_path / str(most)
            result = sft(
                **{"model_path": mixture, "data_path": rows, "ckpt_output_dir": out, "backend": "mini-trainer"},
                **{"num_epochs": 2, "effective_batch_size": 16, "max_seq_len": 128, "max_tokens_per_gpu": most},
            )
            told.append(losses(out))
    assert told[0] == pytest.approx(told[1], abs=1e-5)
    assert told[0][0] < 6
    assert read_json(result.checkpoint / "config.json")["output_router_logits"] is True
