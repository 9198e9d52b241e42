"""Weights that a model's files lack are told before training, and every form in which a whole model is saved is taken."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from training_hub import osft, sft
from training_hub.errors import DatasetError, ModelError
from training_hub.plugin import check_weights, read_events
from training_hub.preflight.model import check_model
from training_hub.testing.jobs import make_job

SMALL = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def gpt2():
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, **ends)


def sees():
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.Gemma3Config(
        text_config={**SMALL, "head_dim": 8},
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        **{"mm_tokens_per_image": 4, "image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7},
    )


CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "tied": lambda: transformers.LlamaConfig(**SMALL, tie_word_embeddings=True),
    "gpt2": gpt2,
    "experts": lambda: transformers.Qwen3MoeConfig(**SMALL | EXPERTS, head_dim=8),
    "mixtral": lambda: transformers.MixtralConfig(**SMALL | EXPERTS, sliding_window=None),
    "gpt_oss": lambda: transformers.GptOssConfig(**SMALL | EXPERTS, head_dim=8),
    "mamba": lambda: transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=8),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=64, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    ),
    "sees": sees,
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A small model of a kind as transformers saves it, and what is done to its weights and its config then."""
    count = 0

    def make(kind, weights=lambda found: found, **config):
        nonlocal count
        count += 1
        directory = tmp_path_factory.mktemp("models") / f"{kind}-{count}"
        AutoModelForCausalLM.from_config(CONFIGS[kind]()).save_pretrained(directory)
        changed = weights(load_file(directory / "model.safetensors"))
        save_file(
            {name: each.clone() for name, each in changed.items()}, directory / "model.safetensors", {"format": "pt"}
        )
        settings = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(settings | config))
        (directory / "tokenizer.json").write_text("{}")
        return directory

    return make


def check(model, place):
    """Both checks of a model: that of its names in the caller's process, and that of the processes that train."""
    job = make_job(place / "out", "sft", model_path=str(model))
    check_model(str(model))
    check_weights(job)
    return [event["message"] for event in read_events(job.directory.events)]


def without(part):
    return lambda found: {name: each for name, each in found.items() if part not in name}


def under(prefix):
    return lambda found: {f"{prefix}{name}": each for name, each in found.items()}


def further_layer(*parts):
    """A layer more, which only predicts further tokens."""

    def add(found):
        copied = {name.replace("layers.1.", "layers.2."): each for name, each in found.items() if "layers.1." in name}
        return found | copied | {f"model.layers.2.{part}": torch.zeros(2) for part in parts}

    return add


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_transformers_saves_is_whole(saved, tmp_path, kind):
    assert check(saved(kind), tmp_path) == []


WHOLE = {
    "gpt2-as-published": (
        "gpt2",
        lambda found: {name.removeprefix("transformer."): w for name, w in found.items()},
        {},
    ),
    "tied-with-its-head": ("tied", lambda found: found | {"lm_head.weight": found["model.embed_tokens.weight"]}, {}),
    "an-old-buffer": (
        "llama",
        lambda found: found | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)},
        {},
    ),
    "a-head-for-more-tokens": ("llama", further_layer("eh_proj.weight"), {}),
    "a-head-for-more-tokens-that-the-config-tells": ("llama", further_layer(), {"num_nextn_predict_layers": 1}),
}


@pytest.mark.parametrize("form", WHOLE)
def test_other_forms_of_a_whole_model_are_taken(saved, tmp_path, form):
    kind, weights, config = WHOLE[form]
    assert check(saved(kind, weights, **config), tmp_path) == []


def test_a_part_that_text_does_not_pass_may_lack_weights_with_a_warning(saved, tmp_path):
    [warning] = check(saved("sees", without("encoder.layers.0.mlp.fc1")), tmp_path)
    assert "vision_tower.encoder.layers.0.mlp.fc1.bias" in warning


BROKEN = {
    "a-tensor": (
        "llama",
        without("layers.1.self_attn.v_proj"),
        {},
        "1 of its 21 .*model.layers.1.self_attn.v_proj.weight",
    ),
    "the-head": ("llama", without("lm_head"), {}, "lm_head.weight"),
    "compiled": ("llama", under("_orig_mod."), {}, "_orig_mod.lm_head.weight, .* and 18 more"),
    "wrapped": ("gpt2", under("module."), {}, "module.transformer.h.0"),
    "a-layer-more": ("llama", None, {"num_hidden_layers": 3}, "model.layers.2 .*start at random"),
    "a-layer-less": ("llama", None, {"num_hidden_layers": 1}, "model.layers.1 would be lost"),
    "a-layer-more-of-gpt2": ("gpt2", None, {"n_layer": 3}, "transformer.h.2"),
    "a-layer-more-of-opt": ("opt", None, {"num_hidden_layers": 3}, "model.decoder.layers.2.fc1.bias"),
    "a-layer-less-of-opt": ("opt", None, {"num_hidden_layers": 1}, "model.decoder.layers.1.fc1.bias"),
    "an-expert": ("experts", without("experts.3."), {}, "3 x .* there, 4 x .* by config.json"),
    "a-text-layer-of-one-that-sees": ("sees", without("model.layers.1.mlp.up_proj"), {}, "layers.1.mlp.up_proj.weight"),
    "more-tokens": ("llama", None, {"vocab_size": 80}, "embed_tokens.weight .64 x 32 there, 80 x 32 by config.json"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_weights_that_would_start_at_random_are_named(saved, tmp_path, fault):
    kind, weights, config, said = BROKEN[fault]
    with pytest.raises(ModelError, match=said):
        check(saved(kind, weights or (lambda found: found), **config), tmp_path)


def test_a_model_that_lacks_weights_is_never_trained(job, model, tmp_path):
    whole = load_file(model / "model.safetensors")
    broken = tmp_path / "broken"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(broken)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(broken)
    save_file(
        {n: w for n, w in whole.items() if n != "model.norm.weight"}, broken / "model.safetensors", {"format": "pt"}
    )
    for train, more in ((sft, {}), (osft, {"unfreeze_rank_ratio": 0.5})):
        with pytest.raises(ModelError, match="1 of its .* model.norm.weight"):
            train(**{**job, "model_path": broken}, **more)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_may_have_more_tokens_than_the_model_where_no_row_has_them(job, model, tmp_path, losses):
    larger = tmp_path / "larger"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(larger)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<|tool|>"])
    tokenizer.save_pretrained(larger)
    job = {**job, "num_epochs": 1}
    sft(**job)
    sft(**{**job, "model_path": larger, "ckpt_output_dir": tmp_path / "again"})
    assert losses(tmp_path / "again") == losses(tmp_path / "out")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one", "two <|tool|>")))
    with pytest.raises(DatasetError, match=rf"{rows}:2: .* token 261 \('<\|tool\|>'\)"):
        documents = {"data_path": rows, "is_pretraining": True, "block_size": 8, "overwrite_output_dir": True}
        sft(**{**job, "model_path": larger, **documents})


def test_of_a_model_on_the_hub_the_revision_that_is_asked_for_is_checked(job, model, tmp_path):
    """In a process of its own, for the hub's cache is looked up as its library is imported."""
    cached = tmp_path / "cache" / "models--somebody--toy"
    for number, name in enumerate(("main", "broken")):
        snapshot = shutil.copytree(model, cached / "snapshots" / (str(number) * 40))
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / name).write_text(snapshot.name)
    weights = load_file(snapshot / "model.safetensors")
    save_file(without("model.norm")(weights), snapshot / "model.safetensors", {"format": "pt"})
    values = {name: str(value) if hasattr(value, "parts") else value for name, value in job.items()}
    values |= {"model_path": "somebody/toy", "num_epochs": 1}
    script = f"""
from training_hub import sft
from training_hub.errors import ModelError
try:
    sft(**{values!r}, revision="broken")
except ModelError as error:
    print(error)
print(sft(**{values!r}).state)
"""
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    said, state = ended.stdout.splitlines()
    assert "model_path=somebody/toy: missing in its files" in said and "model.norm.weight" in said, ended.stderr
    assert state == "completed"
