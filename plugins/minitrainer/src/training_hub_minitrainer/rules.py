"""What becomes of each hub parameter in mini-trainer, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training_hub.plugin import (
    Devices,
    LaunchPlan,
    Parameters,
    Rule,
    approximate,
    by_hub,
    exact,
    hub_rules,
    liger_problem,
    refused,
    schedule_problem,
    when,
)
from training_hub_minitrainer.layout import framework_directory, rows_file

Settings = dict[str, tuple[Any, str]]

SAME = (
    *("trust_remote_code", "max_tokens_per_gpu", "learning_rate", "beta1", "beta2", "eps", "checkpoint_at_epoch"),
    *("validation_frequency", "save_best_val_loss", "val_loss_improvement_threshold"),
)
"""Parameters whose argument has the same name."""


def rules(devices: Devices, plan: LaunchPlan) -> dict[str, Rule]:
    """The table of both algorithms, for the devices at hand and the processes that train."""
    return {
        **hub_rules(plan),
        **{name: exact(f"TrainingArgs.{name}") for name in SAME},
        "model_path": exact("TrainingArgs.model_name_or_path"),
        "num_epochs": exact("TrainingArgs.max_epochs"),
        "warmup_steps": exact("TrainingArgs.num_warmup_steps"),
        "ckpt_output_dir": exact(
            "TrainingArgs.output_dir",
            lambda p: str(framework_directory(p)),
            note="the framework's own files; checkpoints are moved up from there as soon as they are complete",
        ),
        "seed": exact("TrainingArgs.seed", note="and the hub's choice of validation rows"),
        "effective_batch_size": exact(
            "TrainingArgs.batch_size",
            note="rows over all processes; the loss is a mean over all trained tokens of the step, "
            "also where an epoch's last step has fewer rows",
        ),
        "lr_scheduler": exact(
            "TrainingArgs.lr_scheduler",
            refuse=lambda p: (
                "the framework never tells its scheduler a loss; give another one"
                if p["lr_scheduler"] == "reduce_lr_on_plateau"
                else None
            ),
        ),
        "lr_scheduler_kwargs": exact(
            "TrainingArgs.lr_scheduler_kwargs",
            refuse=lambda p: schedule_problem(p["lr_scheduler"], p["lr_scheduler_kwargs"], p["learning_rate"]),
        ),
        "weight_decay": exact("TrainingArgs.weight_decay", note="on every trained weight, norms and biases included"),
        "max_grad_norm": refused(
            "mini-trainer scales every gradient down to a norm of 1.0 and has no setting for it; leave it at 1.0"
        ),
        "use_liger": exact(
            "TrainingArgs.use_liger_kernels",
            refuse=when("use_liger", lambda: liger_problem(devices, "training-hub-minitrainer")),
        ),
        "save_final_checkpoint": exact("TrainingArgs.save_final_checkpoint", note="the model is saved in `final`"),
        "validation_split": exact(
            "TrainingArgs.validation_data_path",
            lambda p: str(rows_file(p, "validation")) if p["validation_split"] else None,
            note="rows drawn by seed, held out by the hub before training",
        ),
        "resume": by_hub(
            "weights, optimizer, schedule, order of rows and random state go on from a checkpoint",
            refuse=when(
                "resume", lambda: "with nnodes > 1 checkpoints hold the model alone" if plan.nodes > 1 else None
            ),
        ),
        # Of sft alone.
        "save_samples": approximate(
            "TrainingArgs.min_samples_per_checkpoint",
            "counted from the last such checkpoint, not from the start, where a step does not end on a multiple",
            lambda p: p["save_samples"] or None,
        ),
        "accelerate_full_state_at_epoch": by_hub(
            "in checkpoint-STEP/full_state; those asked for while it trains always have it"
        ),
        "fsdp_options": by_hub(
            "the framework always shards weights, gradients and optimizer over all processes (FULL_SHARD)",
            refuse=lambda p: _no_fsdp(p["fsdp_options"] or {}),
        ),
        # Of osft alone.
        "unfreeze_rank_ratio": exact(
            "TrainingArgs.osft_unfreeze_rank_ratio",
            note="at 0 one direction of each weight is trained; at 1 nothing is protected, and the weights are trained "
            "whole",
        ),
        "target_patterns": exact(
            "TrainingArgs.osft_target_patterns",
            lambda p: p["target_patterns"] if decomposes(p) else None,
            note="matching names are looked up in the model before training, also with unfreeze_rank_ratio=1, where "
            "nothing more comes of them; by default all linear layers of its layers. Stacks of experts and Conv1D stay "
            "unprotected here, and the trl backend protects them",
        ),
        "min_protected_share": by_hub("counted before anything is split; what is protected is told, and in run.json"),
        "osft_memory_efficient_init": by_hub(
            "the framework always loads the model once, and decomposes weights one at a time, shared out over processes"
        ),
    }


def settings(parameters: Parameters) -> Settings:
    """Arguments that change the result and that no parameter asks for by itself, each set on purpose."""
    each_epoch = bool(parameters["validation_split"] and not parameters["validation_frequency"])
    chosen: Settings = {
        "TrainingArgs.data_path": (str(rows_file(parameters, "train")), "the tokens and labels of the rows"),
        "TrainingArgs.osft": (decomposes(parameters), _why_osft(parameters)),
        "TrainingArgs.validate_at_epoch": (each_epoch, "once an epoch where validation_frequency says nothing else"),
    }
    # Another trigger of the framework's own takes the place of the default one.
    if parameters.backend_kwargs.keys() & {"min_samples_per_validation", "validate_at_final"}:
        del chosen["TrainingArgs.validate_at_epoch"]
    return chosen


def decomposes(parameters: Mapping[str, Any]) -> bool:
    """Whether weights are decomposed, rather than trained whole."""
    # Given 1.0 with osft, the framework would take its default of 0.5 (in 0.9: a rank ratio of 0.0 counts as none).
    return bool(parameters.get("unfreeze_rank_ratio", 1.0) < 1.0)


def _why_osft(parameters: Parameters) -> str:
    if parameters.algorithm != "osft":
        return "weights are trained whole"
    return "as the algorithm says" if decomposes(parameters) else "with unfreeze_rank_ratio=1 nothing is protected"


def _no_fsdp(options: Mapping[str, Any]) -> str | None:
    if options.get("sharding_strategy", "FULL_SHARD") != "FULL_SHARD":
        return "the framework always shards fully over all processes: give FULL_SHARD, or leave it out"
    if options.get("cpu_offload_params"):
        return "the framework keeps its weights on the GPU: leave cpu_offload_params out"
    return None
