"""Which weights OSFT decomposes: those of the model that mini-trainer would load, which has no memory yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from training_hub.errors import ParameterError
from training_hub.worker.osft_targets import target_layers
from training_hub_minitrainer.targets import skeleton


def test_a_pattern_is_any_part_of_a_weights_name(model: Path) -> None:
    plain = skeleton(str(model), trust_remote_code=False)
    assert target_layers(plain, ["1.mlp.up"]) == ["model.layers.1.mlp.up_proj"]
    assert target_layers(plain, ["lm_head"]) == ["lm_head"]


@pytest.mark.parametrize("pattern", ["embed_tokens", "norm", "self_attn.q_porj"])
def test_what_is_no_linear_layer_or_not_there_is_refused_with_the_names_there_are(model: Path, pattern: str) -> None:
    plain = skeleton(str(model), trust_remote_code=False)
    with pytest.raises(ParameterError, match=rf"'{pattern}'.*mlp.up_proj, self_attn.k_proj"):
        target_layers(plain, ["q_proj", pattern])
