"""What becomes of every parameter, held against mini-trainer's real argument class and main function."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from training_hub import AlgorithmRegistry
from training_hub.plugin import FrameworkSources, ParameterError, Translation
from training_hub.testing.jobs import make_job
from training_hub_minitrainer.arguments import TYPES, WITHHELD, accepted
from training_hub_minitrainer.backend import MiniTrainerOSFTBackend
from training_hub_minitrainer.worker import require_liger, training_arguments

NEEDED = {"model_path": "models/opt/Qwen2", "data_path": "rows.jsonl", "ckpt_output_dir": "out"}
OSFT = NEEDED | {"unfreeze_rank_ratio": 0.3}


def translated(algorithm: str, **given: Any) -> Translation:
    needed = OSFT if algorithm == "osft" else NEEDED
    backend = MiniTrainerOSFTBackend()
    backend.name = "mini-trainer"
    return backend.translate(AlgorithmRegistry.get_algorithm(algorithm).resolve(needed | given))


def arguments(algorithm: str, **given: Any) -> dict[str, Any]:
    found = translated(algorithm, **given)
    found.raise_for_refusals()
    return dict(found.arguments["TrainingArgs"])


def refusal(algorithm: str, **given: Any) -> str:
    with pytest.raises(ParameterError) as raised:
        translated(algorithm, **given).raise_for_refusals()
    return str(raised.value)


def real() -> Any:
    from mini_trainer.training_types import TrainingArgs

    return TrainingArgs


# A value of each parameter that is not its default, and what mini-trainer is then given.
EACH: dict[str, tuple[Any, dict[str, Any]]] = {
    "model_path": ("m", {"model_name_or_path": "m"}),
    "data_output_dir": ("kept", {"data_path": str(Path("kept/train.jsonl"))}),
    "ckpt_output_dir": ("o", {"output_dir": str(Path("o/logs/mini-trainer")), "data_path": "o/data/train.jsonl"}),
    "trust_remote_code": (True, {"trust_remote_code": True}),
    "seed": (7, {"seed": 7}),
    "num_epochs": (5, {"max_epochs": 5}),
    "effective_batch_size": (7, {"batch_size": 7}),
    "max_tokens_per_gpu": (9999, {"max_tokens_per_gpu": 9999}),
    "learning_rate": (1e-4, {"learning_rate": 1e-4}),
    "lr_scheduler": ("linear", {"lr_scheduler": "linear"}),
    "lr_scheduler_kwargs": ({"num_cycles": 2}, {"lr_scheduler_kwargs": {"num_cycles": 2}}),
    "warmup_steps": (9, {"num_warmup_steps": 9}),
    "beta1": (0.8, {"beta1": 0.8}),
    "beta2": (0.9, {"beta2": 0.9}),
    "eps": (1e-6, {"eps": 1e-6}),
    "weight_decay": (0.1, {"weight_decay": 0.1}),
    "checkpoint_at_epoch": (True, {"checkpoint_at_epoch": True}),
    "save_final_checkpoint": (False, {"save_final_checkpoint": False}),
    "validation_split": (0.2, {"validation_data_path": "out/data/validation.jsonl", "validate_at_epoch": True}),
}


def test_every_parameter_of_both_algorithms_has_an_item() -> None:
    for algorithm in ("osft", "sft"):
        found = translated(algorithm)
        found.raise_for_refusals()
        assert [item.parameter for item in found.items] == list(AlgorithmRegistry.get_algorithm(algorithm).declared())


@pytest.mark.parametrize("algorithm", ["osft", "sft"])
@pytest.mark.parametrize("name", EACH)
def test_a_parameter_becomes_the_argument_of_the_same_meaning(algorithm: str, name: str) -> None:
    value, expected = EACH[name]
    found = arguments(algorithm, **{name: value})
    assert found == arguments(algorithm) | expected
    assert {n: getattr(real()(**found), n) for n in expected} == expected


def test_osft_and_sft_differ_in_what_is_trained() -> None:
    assert arguments("sft")["osft"] is False
    whole = arguments("osft", osft_upcast_dtype="float64", target_patterns=["q_proj"])
    chosen = {"osft_unfreeze_rank_ratio": 0.3, "osft_target_patterns": ["q_proj"], "osft_upcast_dtype": "float64"}
    assert {name: whole[name] for name in chosen} == chosen
    assert whole["osft"] is True


def test_with_a_ratio_of_one_the_framework_is_not_told_to_decompose() -> None:
    """It would take the ratio for none, and train a half."""
    assert arguments("osft", unfreeze_rank_ratio=1)["osft"] is False
    assert arguments("osft", unfreeze_rank_ratio=0.999)["osft"] is True


def test_with_a_ratio_of_one_what_only_decomposition_asks_for_is_not_used() -> None:
    found = translated("osft", unfreeze_rank_ratio=1, target_patterns=["q_proj"])
    [item] = [item for item in found.items if item.parameter == "target_patterns"]
    assert (item.how, found.problems) == ("unused", ())
    assert "osft_target_patterns" not in found.arguments["TrainingArgs"]
    assert "with unfreeze_rank_ratio=1 no weight is decomposed" in refusal(
        "osft", unfreeze_rank_ratio=1, osft_upcast_dtype="float64"
    )


def test_a_schedule_with_its_own_keywords_is_honoured() -> None:
    given = {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}}
    assert arguments("sft", **given).items() >= given.items()
    endless = {"training_mode": "infinite"}
    arguments("sft", **endless, lr_scheduler="constant")
    stable = {"num_decay_steps": 2, "num_stable_steps": 5}
    arguments("sft", **endless, lr_scheduler="warmup_stable_decay", lr_scheduler_kwargs=stable)


def test_validation_by_steps_takes_the_place_of_once_an_epoch() -> None:
    found = arguments(
        "sft", validation_split=0.1, validation_frequency=3, save_best_val_loss=True, val_loss_improvement_threshold=0.1
    )
    chosen = {"validation_frequency": 3, "save_best_val_loss": True, "val_loss_improvement_threshold": 0.1}
    assert found.items() >= (chosen | {"validate_at_epoch": False}).items()
    assert "validate_at_epoch" not in arguments("sft", validation_split=0.1, validate_at_final=True)


def test_what_only_one_algorithm_has() -> None:
    assert arguments("sft", save_samples=100)["min_samples_per_checkpoint"] == 100
    assert "min_samples_per_checkpoint" not in arguments("sft")
    assert arguments("sft", fsdp_options={"sharding_strategy": "FULL_SHARD"}) == arguments("sft")
    assert arguments("sft", accelerate_full_state_at_epoch=False) == arguments("sft")
    for given in ({"use_processed_dataset": True}, {"unmask_messages": True}, {"osft_memory_efficient_init": True}):
        assert arguments("osft", **given) == arguments("osft")
    assert arguments("osft", is_pretraining=True, block_size=64) == arguments("osft")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_grad_norm": 0.5}, "max_grad_norm=0.5.*down to a norm of 1.0"),
        ({"use_liger": True}, "use_liger=True.*need a GPU"),
        ({"lr_scheduler": "reduce_lr_on_plateau"}, "lr_scheduler.*never tells its scheduler a loss"),
        ({"fsdp_options": {"sharding_strategy": "NO_SHARD"}}, "fsdp_options.*give FULL_SHARD"),
        ({"fsdp_options": {"cpu_offload_params": True}}, "fsdp_options.*leave cpu_offload_params out"),
        ({"resume_from_full_state_checkpoint": "s"}, "resume_from_full_state_checkpoint: .*give resume instead"),
        ({"resume": True, "nnodes": 2, "master_addr": "a"}, "resume=True.*checkpoints hold the model alone"),
        ({"max_step": 4}, r"max_step: neither a parameter of sft.*did you mean 'max_steps'"),
        ({"osft": True}, r"osft: .*cannot honour it: osft\(\) decomposes weights, and sft\(\)"),
        ({"osft_unfreeze_rank_ratio": 0.5}, r"osft_unfreeze_rank_ratio: .*whole weights; call osft\(\)"),
        ({"batch_size": 4}, "TrainingArgs.batch_size is set from effective_batch_size"),
        ({"output_dir": "x"}, "TrainingArgs.output_dir is set from ckpt_output_dir"),
        ({"pretraining_config": {}}, "pretraining_config: .*cannot honour it: give is_pretraining, block_size"),
        ({"validation_data_path": "v"}, "TrainingArgs.validation_data_path is set from validation_split"),
        ({"max_steps": 4}, "max_steps without training_mode='step'"),
        ({"training_mode": "token"}, "training_mode='token' without max_tokens"),
        ({"training_mode": "step", "max_steps": 3, "num_epochs": 2}, "num_epochs and training_mode='step'"),
        ({"validate_at_final": True}, "validate_at_final without a validation set"),
        ({"train_dtype": "banana"}, "train_dtype: expected 'float16', .* or 'float64'; got 'banana'"),
        ({"save_dtype": 16}, "save_dtype: expected 'float16', .* or 'double'; got 16"),
        ({"training_mode": "epochs"}, "training_mode: expected 'epoch', 'step', 'token' or 'infinite'; got 'epochs'"),
        (
            {"training_mode": "step", "max_steps": "four"},
            "max_steps: expected a whole number of at least 1; got 'four'",
        ),
        ({"training_mode": "step", "max_steps": -4}, "max_steps: expected a whole number of at least 1; got -4"),
        ({"validation_split": 0.1, "validate_at_final": "no"}, "validate_at_final: expected true or false; got 'no'"),
        ({"training_mode": "infinite"}, "infinite.*lr_scheduler='cosine'.*give one of constant"),
        ({"lr_scheduler_kwargs": {"min_lr_foo": 3}}, "lr_scheduler_kwargs=.*min_lr_foo"),
        ({"lr_scheduler": "cosine_with_min_lr"}, "lr_scheduler_kwargs=None.*min_lr or min_lr_rate"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(given: dict[str, Any], expected: str) -> None:
    assert re.search(expected, refusal("sft", **given))


def test_osft_takes_no_switch_of_its_own_away() -> None:
    assert "osft() decomposes weights" in refusal("osft", osft=False)
    assert "osft_target_patterns is set from target_patterns" in refusal("osft", osft_target_patterns=["q_proj"])
    assert "there is no pattern in it" in refusal("osft", target_patterns=[])


def test_every_argument_of_the_framework_is_within_reach_or_owned() -> None:
    """A new release's new argument is accepted at once, because the names are read from the installed source."""
    names = {field.name for field in dataclasses.fields(real())}
    assert accepted(FrameworkSources())["TrainingArgs"] == names
    own = {"train_dtype": "bfloat16", "save_dtype": "float16", "training_mode": "step"}
    found = arguments("osft", **own, max_steps=3)
    assert found.items() >= own.items()
    real()(**found)


@pytest.mark.parametrize("algorithm", ["osft", "sft"])
def test_the_worker_calls_the_frameworks_main_with_what_it_takes(algorithm: str, model: Path, tmp_path: Path) -> None:
    from mini_trainer import train
    from mini_trainer.training_types import TrainingMode

    given = {
        "model_path": str(model),
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "training_mode": "step",
        "max_steps": 3,
    }
    found = translated(algorithm, **given)
    needed = {"unfreeze_rank_ratio": 0.3} if algorithm == "osft" else {}
    called = training_arguments(make_job(tmp_path, algorithm, arguments=found.arguments, **given, **needed))
    inspect.signature(train.main).bind(**called)
    assert called["training_mode"] is TrainingMode.STEP
    assert json.loads(called["lr_scheduler_kwargs"]) == {"num_cycles": 2}
    if algorithm == "osft":
        assert called["osft_target_patterns"].split(",")[0] == "model.layers.0.self_attn.q_proj.weight"
    else:
        assert called["osft_target_patterns"] is None
    hints = typing.get_type_hints(train.main)
    assert all(
        isinstance(called[name], (int, float)) for name, hint in hints.items() if hint is float and called.get(name)
    )


def test_the_types_of_further_keywords_are_those_of_the_framework(model: Path) -> None:
    from mini_trainer.setup_model_for_training import get_model_save_dtype
    from mini_trainer.train import parse_dtype
    from mini_trainer.training_types import TrainingMode

    hints = typing.get_type_hints(real())
    assert typing.get_args(TYPES["training_mode"]) == tuple(mode.value for mode in TrainingMode)
    for name in TYPES.keys() - {"training_mode"}:
        is_choice = typing.get_origin(TYPES[name]) is typing.Literal
        kind = str if is_choice else getattr(TYPES[name], "__origin__", TYPES[name])
        assert hints[name] in (kind, kind | None), name
    for name in typing.get_args(TYPES["train_dtype"]):
        assert parse_dtype(name) == getattr(torch, name)
    for name in typing.get_args(TYPES["save_dtype"]):
        assert get_model_save_dtype(name, str(model)) == getattr(torch, name)
    owned = {item.argument.rpartition(".")[2] for algorithm in ("osft", "sft") for item in translated(algorithm).items}
    declared = AlgorithmRegistry.get_algorithm("sft").declared().keys()
    free = accepted(FrameworkSources())["TrainingArgs"] - owned - declared - WITHHELD.keys()
    assert free <= TYPES.keys()


def test_liger_is_refused_for_a_model_without_kernels(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Liger itself cannot be installed without a GPU's Triton; its table of models stands in for it here."""
    table = types.ModuleType("liger_kernel.transformers.monkey_patch")
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, table.__name__, table)
    monkeypatch.setattr(table, "MODEL_TYPE_TO_APPLY_LIGER_FN", {"llama": print}, raising=False)
    require_liger(str(model), trust_remote_code=False)
    monkeypatch.setattr(table, "MODEL_TYPE_TO_APPLY_LIGER_FN", {"qwen2": print})
    with pytest.raises(ParameterError, match="use_liger=True: Liger has no kernels for llama"):
        require_liger(str(model), trust_remote_code=False)


def test_translation_is_pure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert translated("osft", validation_split=0.1) == translated("osft", validation_split=0.1)
    assert not list(tmp_path.iterdir())


def test_the_processes_are_torchruns_as_asked() -> None:
    plan = translated("osft", nproc_per_node=2, nnodes=3, node_rank=1, rdzv_endpoint="host:29400", rdzv_id=5).launch
    assert plan is not None
    command = plan.argv("job.json")
    for part in ("--nnodes=3", "--nproc-per-node=2", "--node-rank=1", "--rdzv-endpoint=host:29400", "--rdzv-id=5"):
        assert part in command
    assert plan.module == "training_hub_minitrainer.worker"
    # Nodes that share a disk do not write the same file.
    second = {"nnodes": 3, "node_rank": 1, "rdzv_endpoint": "h:1"}
    assert arguments("osft", **second)["data_path"] == "out/nodes/1/data/train.jsonl"
    assert arguments("osft", **second, data_output_dir="rows")["data_path"] == "rows/nodes/1/train.jsonl"


def test_the_class_is_public_and_osft_comes_first() -> None:
    import training_hub

    assert training_hub.MiniTrainerOSFTBackend is MiniTrainerOSFTBackend
    assert MiniTrainerOSFTBackend.algorithms == ("osft", "sft")
