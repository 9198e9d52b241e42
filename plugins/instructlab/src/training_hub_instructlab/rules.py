"""What becomes of each hub parameter in instructlab-training, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from training_hub.plugin import (
    Devices,
    LaunchPlan,
    Parameters,
    Rule,
    RunDirectory,
    by_hub,
    data_directory,
    exact,
    hub_rules,
    liger_problem,
    node_directory,
    refused,
    row_length,
    schedule_problem,
    when,
)

Settings: TypeAlias = dict[str, tuple[Any, str]]

SCHEDULERS = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
"""The schedulers that the framework's training script lets through."""
SAME = ("model_path", "num_epochs", "learning_rate", "warmup_steps")
"""Parameters whose argument has the same name."""
MAIN = "main_ds"
"""The framework's training script; as the owner of an argument: an option that it has and `TrainingArgs` has not."""


def rules(devices: Devices, plan: LaunchPlan) -> dict[str, Rule]:
    """The table for `sft`, for the devices at hand and the processes that train."""
    saved = "the framework writes it, then it is moved to"
    return {
        **hub_rules(plan),
        **{name: exact(f"TrainingArgs.{name}") for name in SAME},
        "ckpt_output_dir": Rule(
            "hub",
            "TrainingArgs.ckpt_output_dir",
            lambda p: str(_working_directory(p)),
            "the framework writes in logs/instructlab; checkpoints are moved from there to the hub's names",
        ),
        "data_output_dir": exact("TrainingArgs.data_output_dir", lambda p: str(data_directory(p))),
        "trust_remote_code": exact("TrainingArgs.trust_remote_code", note="whatever TRUST_REMOTE_CODE says"),
        "seed": exact("TrainingArgs.random_seed", note="and the hub's choice of validation rows"),
        "effective_batch_size": exact(
            "TrainingArgs.effective_batch_size",
            note="rows of all processes; the last step of an epoch takes what is left",
        ),
        "max_seq_len": exact("TrainingArgs.max_seq_len", row_length, note="longer rows are left out, with a warning"),
        "max_tokens_per_gpu": exact(
            "TrainingArgs.max_batch_len", note="with padding, where there is no FlashAttention; it changes no result"
        ),
        "lr_scheduler": exact(
            f"{MAIN}.lr_scheduler",
            refuse=lambda p: (
                schedule_problem(p["lr_scheduler"], None, p["learning_rate"])
                if p["lr_scheduler"] in SCHEDULERS
                else f"the framework knows {', '.join(SCHEDULERS)}"
            ),
        ),
        "lr_scheduler_kwargs": refused("the framework gives its schedulers no further arguments"),
        **dict.fromkeys(("beta1", "beta2"), exact("TrainingArgs.adamw_betas", lambda p: [p["beta1"], p["beta2"]])),
        "eps": exact("TrainingArgs.adamw_eps"),
        "weight_decay": exact("TrainingArgs.adamw_weight_decay", note="of all weights, norms and biases included"),
        "max_grad_norm": Rule(
            "exact",
            note="always 1.0; another value is refused",
            refuse=lambda p: (
                None
                if p["max_grad_norm"] == 1.0
                else "the framework always scales gradients down to a norm of 1.0; leave it out"
            ),
        ),
        "use_liger": exact(
            "TrainingArgs.use_liger",
            note=f"with {MAIN}'s model-class, without which the framework would not act on it",
            refuse=when("use_liger", lambda: liger_problem(devices, "training-hub-instructlab")),
        ),
        "checkpoint_at_epoch": exact("TrainingArgs.checkpoint_at_epoch", note=f"{saved} checkpoint-STEP"),
        "save_final_checkpoint": exact(
            f"{MAIN}.save_last",
            # The checkpoint of the last epoch is the same; it is linked then, which takes no time.
            lambda p: p["save_final_checkpoint"] and not p["checkpoint_at_epoch"],
            note=f"{saved} final",
        ),
        "validation_split": exact(
            "TrainingArgs.validation_split", note="rows drawn by the hub, which the framework is given"
        ),
        "validation_frequency": exact(
            "TrainingArgs.validation_frequency", note="by default the steps of an epoch, counted once the rows are made"
        ),
        "on_nan": by_hub("each step's loss is looked at before the optimizer's step"),
        "save_samples": by_hub("a checkpoint at the first step that reaches each multiple of so many rows"),
        "accelerate_full_state_at_epoch": exact(
            "TrainingArgs.accelerate_full_state_at_epoch",
            note="in checkpoint-STEP/full_state, of every checkpoint, so that the run can go on from it",
        ),
        "fsdp_options": exact(
            "TrainingArgs.fsdp_options",
            lambda p: _sharding(p, plan),
            note="by default HYBRID_SHARD, and FULL_SHARD where a node has one process",
            refuse=lambda p: _no_sharding(p, plan),
        ),
    }


def settings(parameters: Parameters, devices: Devices, plan: LaunchPlan) -> Settings:
    """Arguments that no parameter asks for, each set on purpose."""
    flash = devices.kind == "cuda" and find_spec("flash_attn") is not None
    chosen: Settings = {
        "TrainingArgs.data_path": (parameters["data_path"], "for the record: the framework is given the hub's rows"),
        "TrainingArgs.process_data": (False, "the hub makes the tokens and labels"),
        "TrainingArgs.disable_flash_attn": (
            not flash,
            "" if flash else "there is no flash-attn" if devices.kind == "cuda" else f"there is {devices}",
        ),
        "TrainingArgs.distributed_backend": ("fsdp", "weights are held in float32 and computed with in bfloat16"),
        "TrainingArgs.save_samples": (1, "it asks after every step, and the hub says whether to save, and to go on"),
    }
    if parameters["use_liger"]:
        chosen[f"{MAIN}.model-class"] = ("Liger", "as use_liger asks")
    if parameters["fsdp_options"] is None and _alone(plan):
        chosen["TrainingArgs.fsdp_options"] = (
            {"sharding_strategy": "FULL_SHARD"},
            "with one process a node HYBRID_SHARD would train replicas that are never brought together",
        )
    return chosen


def _working_directory(parameters: Mapping[str, Any]) -> Path:
    return RunDirectory(node_directory(parameters)).logs / "instructlab"


def _alone(plan: LaunchPlan) -> bool:
    """Whether each of several nodes has one process, so that there is nothing to shard over within a node."""
    return plan.nodes > 1 and plan.processes == 1


def _sharding(parameters: Parameters, plan: LaunchPlan) -> dict[str, Any] | None:
    options = parameters["fsdp_options"]
    return {"sharding_strategy": "FULL_SHARD", **options} if options and _alone(plan) else options or None


def _no_sharding(parameters: Parameters, plan: LaunchPlan) -> str | None:
    if (parameters["fsdp_options"] or {}).get("sharding_strategy") == "HYBRID_SHARD" and _alone(plan):
        return (
            "with one process a node PyTorch would train a replica on each and never bring them together: give "
            "FULL_SHARD or SHARD_GRAD_OP"
        )
    return None
