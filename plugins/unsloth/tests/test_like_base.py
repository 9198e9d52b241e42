"""What is merged is like its base, and an adapter that would part tied weights is refused."""

import json

import pytest
from transformers import AutoTokenizer

from training_hub import lora_sft
from training_hub.errors import ParameterError
from training_hub.store.tensors import stored_tensors
from training_hub.testing.toy import make_model


def stored(directory):
    return {name: (tensor.dtype, tensor.shape) for name, tensor in stored_tensors(directory).items()}


@pytest.fixture
def base(tmp_path):
    """Tied, with settings that transformers would not save again, and a token to pad with that it does not know."""
    directory = tmp_path / "base"
    make_model(directory, num_hidden_layers=2, tie_word_embeddings=True)
    own = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 3], "bos_token_id": 2, "pad_token_id": 3}
    (directory / "generation_config.json").write_text(json.dumps(own))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("asked", [{}, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}])
def test_names_precisions_shapes_and_settings_are_those_of_the_base(asked, base, job):
    result = lora_sft(**{**job, "model_path": str(base), **asked}, save_merged_model=True)
    assert stored(result.merged_checkpoint) == stored(base)
    for name in ("config.json", "generation_config.json"):
        found, expected = (json.loads((place / name).read_text()) for place in (result.merged_checkpoint, base))
        assert found == expected
    settings = json.loads((result.checkpoint / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(base)


def test_an_adapter_that_would_part_tied_weights_is_refused(base, job):
    with pytest.raises(ParameterError, match=r"one weight for model.embed_tokens and lm_head"):
        lora_sft(**{**job, "model_path": str(base)}, modules_to_save=["embed_tokens"])
