"""Attention is what transformers chooses for a model, or what is asked for by name; adapters go where they are seen."""

import sys
from pathlib import Path

import pytest
from peft import PeftConfig
from transformers import AutoModelForCausalLM

from training_hub import lora_sft, sft
from training_hub.errors import ParameterError

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make

SHORT = {"num_epochs": 1, "lora_r": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = {}

    def of(name):
        if name not in found:
            found[name] = tmp_path_factory.mktemp("model") / name
            make(name, found[name])
        return found[name]

    return of


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss", "bloom", "gemma3_text"])
def test_an_adapter_is_trained_with_the_attention_that_transformers_chooses(name, made, job):
    live = lora_sft(**job | SHORT | {"model_path": made(name)})["model"]
    chosen = AutoModelForCausalLM.from_pretrained(made(name)).config._attn_implementation
    assert live.config._attn_implementation == chosen


@pytest.mark.parametrize(("algorithm", "own"), [(sft, {"num_epochs": 1}), (lora_sft, SHORT)])
def test_another_one_is_taken_where_it_is_named(algorithm, own, made, job, losses, tmp_path):
    asked = job | own | {"model_path": made("llama")}
    usual, named = tmp_path / "usual", tmp_path / "named"
    algorithm(**asked | {"ckpt_output_dir": usual})
    live = algorithm(**asked | {"ckpt_output_dir": named, "attn_implementation": "eager"})["model"]
    assert live.config._attn_implementation == "eager"
    assert losses(named) == pytest.approx(losses(usual), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("gpt_oss", {"attn_implementation": "sdpa"}, "^attn_implementation: this model cannot be loaded with sdpa"),
        ("gpt_oss", {"flash_attention": False}, "^flash_attention: this model cannot be loaded with sdpa"),
        ("llama", {"attn_implementation": "fastest"}, "cannot be loaded with fastest"),
        ("llama", {"attn_implementation": "eager", "flash_attention": False}, "give one of them"),
    ],
)
def test_one_that_the_model_has_not_is_refused_by_name(name, asked, said, made, job):
    with pytest.raises(ParameterError, match=said):
        lora_sft(**job | SHORT | {"model_path": made(name)} | asked)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mamba", ["mixer.dt_proj", "mixer.out_proj", "mixer.x_proj"]),
        ("falcon_h1", ["mamba.out_proj"]),
        ("phimoe", ["mlp.router"]),
        ("qwen3_next", []),
    ],
)
def test_by_default_layers_that_are_not_called_have_no_adapter(name, left, made, job):
    result = lora_sft(**job | SHORT | {"model_path": made(name)})
    assert sorted(PeftConfig.from_pretrained(result.checkpoint).exclude_modules or ()) == left
