"""What becomes of each hub parameter in TRL, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from training_hub.plugin import (
    BatchPlan,
    Devices,
    FrameworkSources,
    LaunchPlan,
    Parameters,
    Rule,
    approximate,
    by_hub,
    exact,
    hub_rules,
    liger_problem,
    schedule_problem,
    when,
)
from training_hub_trl import lora_rules
from training_hub_trl.dpo import rules as dpo_rules

Settings: TypeAlias = dict[str, tuple[Any, str]]
"""Arguments that no parameter asks for: `Class.field` to the value and the reason."""


def rules(
    algorithm: str, plan: BatchPlan, devices: Devices, launch: LaunchPlan | None, sources: FrameworkSources
) -> dict[str, Rule]:
    """The table of an algorithm.

    Args:
        algorithm: Its name.
        plan: How batches are cut.
        devices: What is at hand.
        launch: The processes that train; None where the caller's does.
        sources: Reads what values the frameworks know.
    """
    table = {**hub_rules(launch), **_common(plan, devices)}
    match algorithm:
        case "sft":
            return table | _sft(devices)
        case "osft":
            return table | _OSFT
        case "dpo":
            return moved(table | dpo_rules.rules(plan, devices, sources), {"SFTConfig": "DPOConfig"})
        case _:
            return table | lora_rules.rules(plan, devices, sources)


def packs(parameters: Parameters) -> bool:
    """Whether several rows are to lie in one sequence."""
    return bool(parameters.get("sample_packing") or parameters.backend_kwargs.get("packing"))


def asks_for_micro_batches(values: Mapping[str, Any]) -> bool:
    """Whether the call says how many rows a forward pass has; of a call's parameters or of a job's."""
    return bool(values.get("micro_batch_size") or values.get("gradient_accumulation_steps"))


def whole(plan: BatchPlan, parameters: Parameters) -> BatchPlan:
    """The plan, where nothing asks for micro-batches, with a process' rows of a step in one: they are cut by length."""
    if packs(parameters) or asks_for_micro_batches(parameters):
        return plan
    rows = plan.micro_batch_size * plan.gradient_accumulation_steps
    return replace(plan, micro_batch_size=rows, gradient_accumulation_steps=1)


def moved(rules: Mapping[str, Rule], owners: Mapping[str, str]) -> dict[str, Rule]:
    """The rules where the same arguments belong to other classes or functions.

    Args:
        rules: The rules.
        owners: The new owner by the old one.
    """
    found = {}
    for name, rule in rules.items():
        owner, _, argument = rule.argument.partition(".")
        found[name] = replace(rule, argument=f"{owners[owner]}.{argument}") if owner in owners else rule
    return found


def _common(plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    return {
        "model_path": exact("from_pretrained.pretrained_model_name_or_path"),
        "ckpt_output_dir": exact("SFTConfig.output_dir"),
        "trust_remote_code": exact("from_pretrained.trust_remote_code"),
        "seed": exact("SFTConfig.seed", note="and the hub's order of rows"),
        "num_epochs": exact("SFTConfig.num_train_epochs"),
        "effective_batch_size": exact(
            "SFTConfig.gradient_accumulation_steps",
            lambda p: plan.gradient_accumulation_steps,
            note=f"{plan.micro_batch_size} rows x {plan.gradient_accumulation_steps} forward passes x "
            f"{plan.world_size} processes = {plan.effective_batch_size}",
        ),
        "max_tokens_per_gpu": by_hub(
            "a process' rows of a step are cut by length into passes of at most so many tokens"
        ),
        "learning_rate": exact("SFTConfig.learning_rate"),
        "lr_scheduler": exact("SFTConfig.lr_scheduler_type", refuse=_falls_by_no_validation),
        "lr_scheduler_kwargs": exact(
            "SFTConfig.lr_scheduler_kwargs",
            refuse=lambda p: schedule_problem(p["lr_scheduler"], p["lr_scheduler_kwargs"], p["learning_rate"]),
        ),
        "warmup_steps": exact("SFTConfig.warmup_steps"),
        "beta1": exact("SFTConfig.adam_beta1"),
        "beta2": exact("SFTConfig.adam_beta2"),
        "eps": exact("SFTConfig.adam_epsilon"),
        "weight_decay": exact("SFTConfig.weight_decay"),
        "max_grad_norm": exact("SFTConfig.max_grad_norm"),
        "use_liger": exact(
            "SFTConfig.use_liger_kernel", refuse=when("use_liger", lambda: liger_problem(devices, "training-hub-trl"))
        ),
        "validation_split": exact(
            "SFTConfig.eval_strategy",
            lambda p: _eval_strategy(p),
            note="rows drawn by seed, held out before training",
        ),
        "validation_frequency": exact("SFTConfig.eval_steps"),
        "on_nan": by_hub("checked at each step that is logged"),
    }


def _sft(devices: Devices) -> dict[str, Rule]:
    return {
        "save_samples": by_hub(
            "a checkpoint at the first step that reaches each multiple of so many rows; 0 means not by rows"
        ),
        "accelerate_full_state_at_epoch": exact(
            "SFTConfig.save_only_model", lambda p: not p["accelerate_full_state_at_epoch"]
        ),
        "fsdp_options": approximate(
            "SFTConfig.fsdp_config",
            "PyTorch's FSDP2 through accelerate: resharding after the forward pass stands for the strategy",
            lambda p: _fsdp(p["fsdp_options"]) if p["fsdp_options"] else None,
            refuse=lambda p: _no_fsdp(p["fsdp_options"], devices) if p["fsdp_options"] else None,
        ),
    }


_OSFT = {
    "unfreeze_rank_ratio": exact("OSF.unfreeze_rank_ratio", note="PEFT's effective_rank is what is preserved"),
    "target_patterns": exact("OSF.target_patterns", note="stacks of experts and Conv1D, too, matrix by matrix"),
    "min_protected_share": by_hub("counted before anything is split; what is protected is told, and in run.json"),
    "osft_memory_efficient_init": by_hub("weights are decomposed one at a time in any case; the result is the same"),
}


def _eval_strategy(parameters: Mapping[str, Any]) -> str:
    if not (parameters["validation_split"] or parameters.get("eval_data_path")):
        return "no"
    return "steps" if parameters["validation_frequency"] or parameters.get("eval_steps") else "epoch"


def _falls_by_no_validation(parameters: Mapping[str, Any]) -> str | None:
    if parameters["lr_scheduler"] != "reduce_lr_on_plateau" or _eval_strategy(parameters) != "no":
        return None
    return "it goes by the validation loss: say which rows to validate on, with validation_split"


def _no_fsdp(options: Mapping[str, Any], devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"sharding needs GPUs, and there is {devices}"
    if options.get("sharding_strategy") in ("HYBRID_SHARD", "NO_SHARD"):
        return "FSDP2 shards over all processes: give FULL_SHARD or SHARD_GRAD_OP"
    return None


def _fsdp(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": 2,
        "reshard_after_forward": options.get("sharding_strategy") != "SHARD_GRAD_OP",
        "cpu_offload": bool(options.get("cpu_offload_params")),
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    }
