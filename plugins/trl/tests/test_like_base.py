"""What is saved is like its base, whatever that is like; and the weights are saved whatever fails after a step."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GraniteMoeHybridConfig,
    MixtralConfig,
    Qwen3MoeConfig,
)

from training_hub import TrainingHubCallback, lora_sft, osft, sft
from training_hub.errors import ParameterError, TrainingFailedError
from training_hub.plugin import like_base
from training_hub.store.checkpoints import complete
from training_hub.testing.jobs import make_job
from training_hub.testing.toy import make_model
from training_hub_trl.merging import note_answer, save_merged

ALGORITHMS = {"sft": (sft, {}), "osft": (osft, {"unfreeze_rank_ratio": 0.5}), "lora_sft": (lora_sft, {"lora_r": 4})}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TIED = r"one weight for model.embed_tokens and lm_head"


def stored(directory):
    """Name to precision and shape of what the model's files hold."""
    found = {}
    for file in directory.glob("model*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                part = weights.get_slice(name)
                found[name] = part.get_dtype(), part.get_shape()
    return found


def as_json(file):
    return json.loads(file.read_text())


def edit(file, **changes):
    content = {**as_json(file), **changes}
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.tensor([[5, 20, 30, 40, 50]])).logits


def tied(directory):
    make_model(directory, **SMALL, num_key_value_heads=2, tie_word_embeddings=True)


def in_bfloat16(directory):
    tied(directory)
    half = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    half.save_pretrained(directory)


def without_a_precision(directory):
    in_bfloat16(directory)
    edit(directory / "config.json", dtype=None, a_key_of_its_own=3)


def with_older_names(directory):
    in_bfloat16(directory)
    edit(directory / "config.json", dtype=None, torch_dtype="bfloat16", use_cache=True)


def of_mixed_precisions(directory):
    in_bfloat16(directory)
    weights = load_file(directory / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].float()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def in_several_files(directory):
    in_bfloat16(directory)
    whole = AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
    (directory / "model.safetensors").unlink()
    whole.save_pretrained(directory, max_shard_size="40KB")


def that_sees(directory):
    make_model(directory, **SMALL)
    size = len(AutoTokenizer.from_pretrained(directory))
    text = {**SMALL, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": size, "sliding_window": 16}
    vision = {**SMALL, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    tokens = {"image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7, "mm_tokens_per_image": 4}
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, **tokens))
    model.to(torch.bfloat16).save_pretrained(directory)
    config = as_json(directory / "config.json")
    for part in ("text_config", "vision_config"):
        config[part].pop("dtype", None)
    edit(directory / "config.json", **{**config, "dtype": "bfloat16"})
    (directory / "preprocessor_config.json").write_text('{"image_processor_type": "Gemma3ImageProcessor"}')
    (directory / "processor_config.json").write_text('{"image_seq_length": 4}')


def that_generates_its_own_way(directory):
    tied(directory)
    own = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 3], "bos_token_id": 2, "pad_token_id": 3}
    (directory / "generation_config.json").write_text(json.dumps(own))


def that_says_nothing_of_generation(directory):
    tied(directory)
    (directory / "generation_config.json").unlink()


BASES = (
    *(tied, in_bfloat16, without_a_precision, with_older_names, of_mixed_precisions, in_several_files, that_sees),
    *(that_generates_its_own_way, that_says_nothing_of_generation),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Makes a base of a kind, once."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("base") / kind.__name__
            kind(made[kind])
        return made[kind]

    return of


@pytest.mark.parametrize("kind", BASES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_names_precisions_shapes_and_settings_are_those_of_the_base(name, kind, base, job):
    train, own = ALGORITHMS[name]
    model = base(kind)
    merges = {"save_merged_model": True} if name == "lora_sft" else {}
    asked = {**job, "model_path": model, "num_epochs": 1, "effective_batch_size": 25, "checkpoint_at_epoch": True}
    if name == "lora_sft":
        asked |= {"checkpoint_at_epoch": False, "save_steps": 1}
    result = train(**{**asked, **own, **merges})
    # An adapter's checkpoints hold the adapter alone.
    for directory in (result.merged_checkpoint,) if merges else (result.checkpoint, result.run_dir / "checkpoint-2"):
        assert stored(directory) == stored(model)
        assert as_json(directory / "config.json") == as_json(model / "config.json")
        settings = [place / "generation_config.json" for place in (directory, model)]
        assert settings[0].exists() == settings[1].exists()
        if settings[0].exists():
            assert as_json(settings[0]) == as_json(settings[1])
        files = {path.name for path in model.glob("*.json")} - {"model.safetensors.index.json"}
        assert files <= {path.name for path in directory.iterdir()}
    saved = AutoModelForCausalLM.from_pretrained(result.merged_checkpoint or result.checkpoint, dtype=torch.float32)
    rounding = 1e-4 if {"F32"} == {kind for kind, _ in stored(model).values()} else 0.1
    assert (logits(saved) - logits(result.model)).abs().max() <= rounding


class StopAtSeven(TrainingHubCallback):
    def on_log(self, context):
        if context.step == 7:
            context.stop()


def test_a_model_that_generates_its_own_way_is_stopped_and_goes_on(base, job, tmp_path):
    asked = {**job, "model_path": base(that_generates_its_own_way)}
    whole = sft(**{**asked, "ckpt_output_dir": tmp_path / "whole"})
    assert sft(**asked, callbacks=StopAtSeven()).state == "stopped"
    result = sft(**asked, resume=True)
    first, second = (load_file(place / "model.safetensors") for place in (whole.checkpoint, result.checkpoint))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


class Breaks:
    """A tokenizer's way to save itself, that fails."""

    def __init__(self, at):
        self.at = at

    def __call__(self, directory, *args, **kwargs):
        if self.at in str(directory):
            raise ValueError("no such file as I should write")


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("at", ["final", "checkpoint-7"])
def test_where_something_else_cannot_be_saved_the_weights_are(name, at, job, model, monkeypatch):
    train, own = ALGORITHMS[name]
    tokenizer = type(AutoTokenizer.from_pretrained(model))
    monkeypatch.setattr(tokenizer, "save_pretrained", Breaks(at))
    at_epoch = {"save_steps": 7} if name == "lora_sft" else {"checkpoint_at_epoch": True}
    with pytest.raises(TrainingFailedError, match=rf"trained weights are in .*{at}; .* no such file as I should write"):
        train(**{**job, **own, **at_epoch})
    place = job["ckpt_output_dir"] / at
    if name == "lora_sft":
        assert PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), place)
    else:
        before, after = (load_file(path / "model.safetensors") for path in (model, place))
        assert not torch.equal(before["model.norm.weight"], after["model.norm.weight"])
    if at != "final":
        found = complete(place)
        assert (found.step, found.resumable) == (7, False)


def test_where_a_validation_fails_the_weights_of_its_step_are_saved(job, model, monkeypatch):
    from training_hub_trl.sft_trainer import HubSFTTrainer

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(HubSFTTrainer, "prediction_step", fail)
    with pytest.raises(TrainingFailedError, match="out of memory"):
        sft(**job, validation_split=0.2)
    found = complete(job["ckpt_output_dir"] / "checkpoint-5")
    assert not found.resumable
    assert AutoModelForCausalLM.from_pretrained(found.path)


def test_a_tokenizer_that_knows_more_than_the_model_leaves_it_as_large_as_it_is(base, job, tmp_path):
    large = tmp_path / "large"
    shutil.copytree(base(tied), large)
    tokenizer = AutoTokenizer.from_pretrained(large)
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    tokenizer.save_pretrained(large)
    result = lora_sft(**{**job, "model_path": large, "num_epochs": 1}, save_merged_model=True)
    assert stored(result.merged_checkpoint) == stored(large)
    assert as_json(result.merged_checkpoint / "config.json") == as_json(large / "config.json")


@pytest.mark.parametrize(
    "kind", [MixtralConfig, Qwen3MoeConfig, GraniteMoeHybridConfig], ids=lambda kind: kind.__name__
)
def test_weights_that_a_framework_saved_as_it_holds_them_get_the_names_of_the_base(kind, tmp_path):
    own = {
        MixtralConfig: {"num_local_experts": 2},
        Qwen3MoeConfig: {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32, "head_dim": 16},
        GraniteMoeHybridConfig: {
            "num_local_experts": 2,
            "layer_types": ["mamba", "attention"],
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 16,
            "shared_intermediate_size": 32,
        },
    }
    base, written = tmp_path / "base", tmp_path / "written"
    config = kind(vocab_size=64, num_key_value_heads=2, tie_word_embeddings=False, **SMALL, **own[kind])
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    written.mkdir()
    shutil.copyfile(base / "config.json", written / "config.json")
    save_file(model.state_dict(), written / "model.safetensors", metadata={"format": "pt"})
    assert stored(written).keys() != stored(base).keys()
    like_base(written, base)
    assert stored(written) == stored(base)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(written)), logits(model))
    assert sorted(path.name for path in written.iterdir()) == sorted(path.name for path in base.iterdir())


def test_an_adapter_names_its_base_so_that_it_is_found_from_anywhere(model, job, monkeypatch):
    monkeypatch.chdir(model.parent)
    result = lora_sft(**{**job, "model_path": model.name, "num_epochs": 1})
    assert as_json(result.checkpoint / "adapter_config.json")["base_model_name_or_path"] == str(model)


@pytest.mark.parametrize(
    "asked",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": r".*\.(q_proj|embed_tokens)"},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"trainable_token_indices": [5, 20]},
    ],
)
def test_an_adapter_that_would_part_tied_weights_is_refused(asked, base, job):
    with pytest.raises(ParameterError, match=TIED):
        lora_sft(**{**job, "model_path": base(tied), **asked})


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (tied, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
        (None, {"modules_to_save": ["embed_tokens", "lm_head"]}),
        (None, {"target_modules": ["q_proj", "embed_tokens"]}),
        (None, {"trainable_token_indices": [5, 20]}),
        (None, {"init_lora_weights": "pissa"}),
        (None, {"use_dora": True, "bias": "all"}),
    ],
)
def test_what_is_merged_says_what_was_trained(kind, asked, base, model, job):
    model = base(kind) if kind else model
    result = lora_sft(**{**job, "model_path": model, "learning_rate": 2e-2, "save_merged_model": True, **asked})
    merged = AutoModelForCausalLM.from_pretrained(result.merged_checkpoint)
    assert (logits(merged) - logits(result.model)).abs().max() < 1e-4
    assert (logits(merged) - logits(AutoModelForCausalLM.from_pretrained(model))).abs().max() > 1e-2
    assert stored(result.merged_checkpoint) == stored(model)
    assert not list((result.run_dir / "logs").glob("*.safetensors"))


def test_what_is_merged_and_says_something_else_is_not_saved(model, tmp_path):
    job = make_job(tmp_path, "lora_sft", model_path=str(model), arguments={"from_pretrained": {}, "LoraConfig": {}})
    tokenizer = AutoTokenizer.from_pretrained(model)
    lora = LoraConfig(target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    live = get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora)
    live.save_pretrained(tmp_path / "final")
    tokenizer.save_pretrained(tmp_path / "final")
    note_answer(live, tokenizer, job)
    save_merged(job, tmp_path / "final", tmp_path / "merged")
    with torch.no_grad():
        live.get_base_model().model.norm.weight.mul_(1.01)
    note_answer(live, tokenizer, job)
    with pytest.raises(TrainingFailedError, match=r"adapter is in .*final, and merged .* not what was trained"):
        save_merged(job, tmp_path / "final", tmp_path / "other")
    assert not (tmp_path / "other").exists()


FROM_THE_HUB = """
import json, sys
from training_hub import TrainingHubCallback, lora_sft
print(lora_sft(**json.loads(sys.argv[1]), revision="second", save_merged_model=True).merged_checkpoint)
"""


def test_a_version_on_the_hub_is_that_of_the_settings_too(base, job, tmp_path, monkeypatch):
    place = tmp_path / "hub" / "models--some--model"
    for version, kind in (("main", that_generates_its_own_way), ("second", without_a_precision)):
        shutil.copytree(base(kind), place / "snapshots" / f"{version}-commit")
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / version).write_text(f"{version}-commit")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    call = json.dumps({**job, "model_path": "some/model", "num_epochs": 1}, default=str)
    ended = subprocess.run([sys.executable, "-c", FROM_THE_HUB, call], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    model, merged = base(without_a_precision), job["ckpt_output_dir"] / "merged"
    assert stored(merged) == stored(model)
    assert as_json(merged / "config.json") == as_json(model / "config.json")
    named = as_json(job["ckpt_output_dir"] / "final" / "adapter_config.json")
    assert (named["base_model_name_or_path"], named["revision"]) == ("some/model", "second")
