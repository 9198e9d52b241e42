"""OSFT on a tiny Llama: real training steps, judged by a float64 SVD of the original weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from peft.tuners.osf import OSFLayer
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from training_hub.plugin import ModelError, ParameterError, preserved_rank, target_layers, target_weights
from training_hub.worker.protection import Kind, protection, share
from training_hub_trl.osft import (
    decompose,
    dense_state_dict,
    keep_update_outside,
    protected_share,
)

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def llama(**changes: Any) -> LlamaForCausalLM:
    """Two layers, hidden 64; grouped queries make k_proj and v_proj (32, 64), so that no factor kind is left out."""
    settings = {
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    } | changes
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**settings))


def meta(model_type: str, **settings: Any) -> PreTrainedModel:
    """A model that has names and shapes and no memory."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))


def batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 48, (4, 16), generator=generator) for _ in range(count)]


def copy_of(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def adamw(model: torch.nn.Module) -> torch.optim.AdamW:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trainable, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)


def train(model: torch.nn.Module, optimizer: Any, data: list[Tensor]) -> list[float]:
    losses = []
    for rows in data:
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def split_layers(model: PeftModel) -> set[str]:
    return {name for name, module in model.get_base_model().named_modules() if isinstance(module, OSFLayer)}


def largest_share(before: dict[str, Tensor], model: PeftModel, ratio: float) -> float:
    after = dense_state_dict(model)
    shares = []
    for name in split_layers(model):
        original, trained = before[f"{name}.weight"], after[f"{name}.weight"]
        shares.append(protected_share(original, trained, preserved_rank(original.shape, ratio)))
    return max(shares)


# What is split


def test_a_llama_is_split_in_attention_and_mlp() -> None:
    found = target_layers(llama())
    assert len(found) == 14
    assert {name.rsplit(".", 1)[1] for name in found} == set(PROJECTIONS)
    assert found == target_layers(llama(), [])


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["layers.1.mlp.up_proj"], ["model.layers.1.mlp.up_proj"]),
        (["1.self_attn.q_proj.weight"], ["model.layers.1.self_attn.q_proj"]),
        (["lm_head"], ["lm_head"]),
        (["v_pro", "0.self_attn.v_proj"], ["model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.v_proj"]),
    ],
)
def test_a_pattern_is_any_part_of_a_weight_name(patterns: list[str], expected: list[str]) -> None:
    assert target_layers(llama(), patterns) == expected


def test_exactly_the_matching_layers_are_split() -> None:
    model = llama(num_hidden_layers=12)
    wanted = [*target_layers(model, ["layers.1."]), *target_layers(model, ["layers.11.mlp"])]
    assert len(wanted) == 10
    assert split_layers(decompose(model, 0.5, ["layers.1.", "layers.11.mlp"])) == set(wanted)


def test_a_pattern_that_matches_nothing_is_named_with_the_names_there_are() -> None:
    with pytest.raises(ParameterError) as caught:
        target_layers(llama(), ["self_attn.q_proj", "mlp.gate_prj"])
    message = str(caught.value)
    assert "target_patterns" in message
    assert "'mlp.gate_prj'" in message
    assert "did you mean 'mlp.gate_proj'?" in message
    assert "'self_attn.q_proj'" not in message
    assert "lm_head, mlp.down_proj" in message


def test_layers_that_share_a_weight_are_left_whole() -> None:
    tied = llama(tie_word_embeddings=True)
    with pytest.raises(ParameterError, match="share their weight"):
        target_layers(tied, ["lm_head"])
    twice = llama()
    twice.model.layers[1].mlp = twice.model.layers[0].mlp
    assert not [name for name in target_layers(twice) if ".mlp." in name]


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"torch\.nn\.Linear"):
        target_layers(meta("gpt2", n_layer=1, n_embd=32, n_head=4, vocab_size=64))


def test_what_is_protected_is_counted_by_kind() -> None:
    model = llama(tie_word_embeddings=True)
    found = protection(model, {f"{name}.weight" for name in target_layers(model, ["self_attn"])})
    attention, feed_forward = 2 * (2 * 64 * 64 + 2 * 32 * 64), 2 * 3 * 64 * 128
    assert found == {
        "attention": Kind(attention, attention, attention),
        "embeddings": Kind(96 * 64, 0, 0),
        "feed-forward": Kind(feed_forward, 0, feed_forward),
        "norms": Kind(5 * 64, 0, 0),
    }
    assert share(found) == pytest.approx(attention / (attention + feed_forward))


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


@pytest.mark.parametrize(
    ("model_type", "settings", "per_layer"),
    [
        ("mistral", SMALL, 7),
        ("qwen2", SMALL, 7),
        ("qwen3", SMALL, 7),
        ("gemma3_text", SMALL, 7),
        ("granite", SMALL, 7),
        ("phi3", SMALL | {"pad_token_id": 0}, 4),
        ("opt", SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32}, 6),
        ("gptj", {"n_embd": 32, "n_layer": 4, "n_head": 4, "rotary_dim": 4, "vocab_size": 64}, 6),
        ("gpt_neo", {"hidden_size": 32, "num_layers": 4, "num_heads": 4, "attention_types": [[["global"], 4]]}, 6),
        ("gpt_oss", SMALL | {"num_local_experts": 2}, 4),
    ],
)
def test_the_default_targets_of_a_family_exist_in_its_models(
    model_type: str, settings: dict[str, Any], per_layer: int
) -> None:
    assert len(target_layers(meta(model_type, **settings))) == 4 * per_layer


def test_by_default_every_matrix_of_the_layers_is_a_target() -> None:
    mixture = meta("mixtral", **SMALL, num_local_experts=2, intermediate_size=64)
    assert {name.rsplit(".", 2)[1] for name in target_layers(mixture)} == {"self_attn"}
    stacks = set(target_weights(mixture)) - {f"{name}.weight" for name in target_layers(mixture)}
    assert {name.split(".", 3)[3] for name in stacks} == {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
    fused = target_weights(meta("gpt2", n_layer=1, n_embd=32, n_head=4, vocab_size=64))
    assert [name.split(".h.0.")[1] for name in fused] == [
        *("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    ]


def test_a_layer_whose_weight_a_kernel_reads_is_not_replaced() -> None:
    state_space = meta("mamba", hidden_size=32, num_hidden_layers=1, state_size=8, vocab_size=64)
    assert target_layers(state_space) == ["backbone.layers.0.mixer.in_proj"]
    assert "backbone.layers.0.mixer.out_proj.weight" in target_weights(state_space)


@pytest.mark.parametrize(
    ("shape", "ratio", "rank"),
    [
        ((64, 64), 0.25, 48),
        ((32, 64), 0.25, 24),
        ((10, 30), 0.33, 6),
        ((10, 10), 0.9, 0),  # 1 - 0.9 is a little less than 0.1 in binary, and mini-trainer rounds it down too
        ((64, 64), 0.0, 63),
        ((64, 64), 1.0, 0),
        ((1, 8), 0.0, 0),
    ],
)
def test_rank_arithmetic(shape: tuple[int, int], ratio: float, rank: int) -> None:
    assert preserved_rank(shape, ratio) == rank


# What trains


def test_the_split_model_computes_what_the_model_did() -> None:
    model, rows = llama(), batches(1)[0]
    with torch.no_grad():
        before = model(rows).logits
        after = decompose(model, 0.25)(rows).logits
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_everything_but_the_target_weights_trains() -> None:
    model = llama(attention_bias=True)
    model.model.norm.weight.requires_grad_(False)
    trainable = {name for name, parameter in decompose(model, 0.25).named_parameters() if parameter.requires_grad}
    plain = {name.removeprefix("base_model.model.") for name in trainable if "osf_svd_params" not in name}
    layers = [f"model.layers.{number}" for number in (0, 1)]
    assert plain == {
        "model.embed_tokens.weight",
        "lm_head.weight",
        *(f"{layer}.{name}_layernorm.weight" for layer in layers for name in ("input", "post_attention")),
        *(f"{layer}.self_attn.{name}_proj.base_layer.bias" for layer in layers for name in "qkvo"),
    }
    assert len(trainable) - len(plain) == 14 * 3


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.75])
def test_the_update_stays_out_of_the_protected_subspace(ratio: float) -> None:
    model = llama()
    before = copy_of(model)
    split = decompose(model, ratio)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    losses = train(split, optimizer, batches(100))
    assert sum(losses[-5:]) / 5 < losses[0] - 0.5
    assert largest_share(before, split, ratio) <= 1e-4
    for name, tensor in dense_state_dict(split).items():
        assert not torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mixtral", {"num_local_experts": 3, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}),
        ("gpt2", {"n_embd": 32, "n_layer": 1, "n_head": 4}),
        ("mamba", {"hidden_size": 32, "num_hidden_layers": 1, "state_size": 8}),
    ],
)
def test_each_matrix_that_is_in_no_linear_layer_is_protected_and_saved(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=96, **settings))
    targets, before = target_weights(plain), copy_of(plain)
    split = decompose(plain, 0.25)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    *data, rows = batches(31)
    split.eval()
    train(split, optimizer, data)
    after = dense_state_dict(split)
    assert after.keys() == before.keys()
    for name in targets:
        rank = preserved_rank(before[name].shape, 0.25)
        stack = zip(before[name], after[name], strict=True) if before[name].ndim == 3 else [(before[name], after[name])]
        for original, trained in stack:
            assert not torch.equal(original, trained)
            assert protected_share(original, trained, rank) <= 1e-4, name
    split.get_base_model().save_pretrained(tmp_path, state_dict=after)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(rows).logits, split(rows).logits, atol=1e-5, rtol=0)


def test_without_the_projection_the_update_leaks() -> None:
    model = llama()
    before = copy_of(model)
    split = decompose(model, 0.25)
    optimizer = adamw(split)
    handle = keep_update_outside(optimizer, split)
    handle.remove()
    train(split, optimizer, batches(30))
    assert largest_share(before, split, 0.25) > 0.05


def test_the_projection_leaves_an_allowed_update_alone_however_often_it_runs() -> None:
    model = llama()
    split = decompose(model, 0.25)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    train(split, optimizer, batches(10))
    before = dense_state_dict(split)
    start = copy_of(llama())
    for group in optimizer.param_groups:
        group.update(lr=0.0, weight_decay=0.0)
    for _ in range(500):
        optimizer.step()
    for name, tensor in dense_state_dict(split).items():
        change = torch.linalg.vector_norm(before[name] - start[name])
        assert torch.linalg.vector_norm(tensor - before[name]) <= 2e-5 * change, name


def test_the_projection_works_behind_accelerate() -> None:
    model = llama()
    before = copy_of(model)
    split = decompose(model, 0.25)
    optimizer = Accelerator(cpu=True).prepare(adamw(split))
    keep_update_outside(optimizer, split)
    train(split, optimizer, batches(10))
    assert largest_share(before, split, 0.25) <= 1e-4


class Precisions(TorchFunctionMode):
    """Notes which precision is in force whenever matrices are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "matmul" in func.__name__:
            self.seen.add(torch.backends.cuda.matmul.fp32_precision)
        return func(*args, **(kwargs or {}))


def test_the_projection_multiplies_in_full_precision_and_gives_the_setting_back() -> None:
    split = decompose(llama(), 0.25)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    rows = batches(1)[0]
    split(input_ids=rows, labels=rows).loss.backward()
    matmul = torch.backends.cuda.matmul
    setting = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with Precisions() as precisions:
            optimizer.step()
        assert precisions.seen == {"ieee"}
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = setting


def test_ratio_one_is_plain_training() -> None:
    plain, split = llama(), decompose(llama(), 1.0)
    assert not split_layers(split)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    assert train(split, optimizer, batches(5)) == train(plain, adamw(plain), batches(5))
    torch.testing.assert_close(dense_state_dict(split), copy_of(plain), atol=0, rtol=0)


def test_a_target_too_small_to_protect_trains_as_a_plain_weight() -> None:
    model = llama(num_attention_heads=2, num_key_value_heads=1, head_dim=2)
    split = decompose(model, 0.8)  # floor(2 * 0.2) directions of k_proj and v_proj
    assert {name.rsplit(".", 1)[1] for name in split_layers(split)} == {"gate_proj", "up_proj", "down_proj"}
    assert split.get_base_model().model.layers[0].self_attn.k_proj.weight.requires_grad


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_out_of_bounds_is_refused(ratio: float) -> None:
    with pytest.raises(ParameterError, match="unfreeze_rank_ratio"):
        decompose(llama(), ratio)


def test_half_precision_weights_are_refused_before_anything_changes() -> None:
    model = llama().to(torch.bfloat16)
    with pytest.raises(ModelError, match=r"dtype=torch\.float32"):
        decompose(model, 0.25)
    assert all(parameter.requires_grad for parameter in model.parameters())


# What is saved


@pytest.mark.parametrize("tied", [False, True])
def test_a_saved_model_loads_with_transformers_alone(tied: bool, tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=tied, attention_bias=True)
    names = set(model.state_dict())
    split = decompose(model, 0.25)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    *data, rows = batches(11)
    train(split, optimizer, data)
    state = dense_state_dict(split)
    assert set(state) == names
    assert (state["lm_head.weight"] is not state["model.embed_tokens.weight"]) or tied
    split.get_base_model().save_pretrained(tmp_path, state_dict=state)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(rows).logits, split(rows).logits, atol=1e-5, rtol=0)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied


def test_taking_the_state_in_mid_training_changes_nothing() -> None:
    results = []
    for take in (False, True):
        split = decompose(llama(), 0.25)
        optimizer = adamw(split)
        keep_update_outside(optimizer, split)
        losses = []
        for rows in batches(6):
            losses += train(split, optimizer, [rows])
            if take:
                dense_state_dict(split)
        results.append((losses, copy_of(split)))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1], results[1][1], atol=0, rtol=0)


def test_training_goes_on_from_the_trainable_parameters_and_the_optimizer() -> None:
    data = batches(8)
    split = decompose(llama(), 0.25)
    optimizer = adamw(split)
    keep_update_outside(optimizer, split)
    train(split, optimizer, data[:4])
    trained = {name: p.detach().clone() for name, p in split.named_parameters() if p.requires_grad}
    moments = deepcopy(optimizer.state_dict())

    again = decompose(llama(), 0.25)
    again.load_state_dict(trained, strict=False)
    resumed = adamw(again)
    resumed.load_state_dict(moments)
    keep_update_outside(resumed, again)
    assert train(again, resumed, data[4:]) == train(split, optimizer, data[4:])


def test_protected_share_of_known_changes() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 9, dtype=torch.float64)
    left, _, right = torch.linalg.svd(weight)
    inside = torch.outer(left[:, 0], right[0])
    outside = torch.outer(left[:, 5], right[8])
    half = torch.outer(left[:, 5], right[0])
    assert protected_share(weight, weight, 3) == 0.0
    assert protected_share(weight, weight + inside, 0) == 0.0
    assert protected_share(weight, weight + inside, 3) == pytest.approx(1.0)
    assert protected_share(weight, weight + half, 3) == pytest.approx(1.0)
    assert protected_share(weight, weight + outside, 3) == pytest.approx(0.0, abs=1e-12)
    assert protected_share(weight, weight + 3 * inside + 4 * outside, 3) == pytest.approx(0.6)
