"""What becomes of each hub parameter in mini-trainer, as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from training_hub.backends.devices import Devices
from training_hub.backends.schedules import schedule_problem
from training_hub.backends.translation import Rule, approximate, by_hub, exact, refused
from training_hub.parameters import Parameters
from training_hub.trackers.config import PARAMETERS as TRACKERS
from training_hub.trackers.config import TOLD
from training_hub_minitrainer.layout import framework_directory, rows_file

Settings = dict[str, tuple[Any, str]]


def rules(parameters: Parameters, devices: Devices, local: int) -> dict[str, Rule]:
    """The table of an algorithm, for the devices at hand and so many processes on this node."""
    own = {"sft": _sft, "osft": _osft}[parameters.algorithm]
    return {**_common(parameters, devices, local), **own()}


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


def _common(parameters: Parameters, devices: Devices, local: int) -> dict[str, Rule]:
    size = local * parameters["nnodes"]
    launched = by_hub(f"torchrun starts {size} process{'es' if size > 1 else ''}")
    rendezvous = by_hub("given to torchrun")
    return {
        "model_path": exact("TrainingArgs.model_name_or_path"),
        "data_path": by_hub("read, checked and turned into tokens and labels by the hub"),
        "ckpt_output_dir": exact(
            "TrainingArgs.output_dir",
            lambda p: str(framework_directory(p)),
            note="the framework's own files; checkpoints are moved up from there as soon as they are complete",
        ),
        "backend": by_hub("this one"),
        "overwrite_output_dir": by_hub("checked before the run"),
        "data_output_dir": by_hub("tokens and labels are kept there"),
        "trust_remote_code": exact("TrainingArgs.trust_remote_code"),
        "seed": exact("TrainingArgs.seed", note="and the hub's choice of validation rows"),
        "num_epochs": exact("TrainingArgs.max_epochs"),
        "effective_batch_size": exact(
            "TrainingArgs.batch_size",
            note="rows over all processes; the loss is a mean over all trained tokens of the step, "
            "also where an epoch's last step has fewer rows",
        ),
        "max_seq_len": by_hub("longer rows are left out, with a warning"),
        "max_tokens_per_gpu": exact("TrainingArgs.max_tokens_per_gpu"),
        "learning_rate": exact("TrainingArgs.learning_rate"),
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
            refuse=lambda p: schedule_problem(p["lr_scheduler"], p["lr_scheduler_kwargs"]),
        ),
        "warmup_steps": exact("TrainingArgs.num_warmup_steps"),
        "beta1": exact("TrainingArgs.beta1"),
        "beta2": exact("TrainingArgs.beta2"),
        "eps": exact("TrainingArgs.eps"),
        "weight_decay": exact("TrainingArgs.weight_decay", note="on every trained weight, norms and biases included"),
        "max_grad_norm": refused(
            "mini-trainer scales every gradient down to a norm of 1.0 and has no setting for it; leave it at 1.0"
        ),
        "use_liger": exact("TrainingArgs.use_liger_kernels", refuse=_when("use_liger", lambda: _liger(devices))),
        "checkpoint_at_epoch": exact("TrainingArgs.checkpoint_at_epoch"),
        "save_final_checkpoint": exact("TrainingArgs.save_final_checkpoint", note="the model is saved in `final`"),
        "keep_last_checkpoint_only": by_hub("older ones are deleted; that of the lowest validation loss stays"),
        "validation_split": exact(
            "TrainingArgs.validation_data_path",
            lambda p: str(rows_file(p, "validation")) if p["validation_split"] else None,
            note="rows drawn by seed, held out by the hub before training",
        ),
        "validation_frequency": exact("TrainingArgs.validation_frequency"),
        "save_best_val_loss": exact("TrainingArgs.save_best_val_loss"),
        "val_loss_improvement_threshold": exact("TrainingArgs.val_loss_improvement_threshold"),
        # Its own pretraining pads the last block, and splits off validation documents in its own way.
        "is_pretraining": by_hub(
            "the hub cuts documents in blocks and hands them over as rows of which every token is trained"
        ),
        "block_size": by_hub("tokens in a block"),
        "document_column_name": by_hub("key of a document"),
        "nproc_per_node": launched,
        "nnodes": launched,
        **dict.fromkeys(("node_rank", "rdzv_id", "rdzv_endpoint", "master_addr", "master_port"), rendezvous),
        **dict.fromkeys(TRACKERS, by_hub(TOLD)),
        "callbacks": by_hub("called from the run's events; they can stop it, save, and set the learning rate"),
        "callback_errors": by_hub("stop or warn"),
        "resume": by_hub(
            "weights, optimizer, schedule, order of rows and random state go on from a checkpoint",
            refuse=lambda p: (
                "with nnodes > 1 checkpoints hold the model alone" if p["resume"] and p["nnodes"] > 1 else None
            ),
        ),
        "resume_changes": by_hub("what may differ from the run resumed"),
        "on_nan": by_hub("checked at each step"),
        "grace_seconds": by_hub("the processes are ended after it"),
        "hang_seconds": by_hub("the processes are ended after it"),
    }


def _sft() -> dict[str, Rule]:
    return {
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
    }


def _osft() -> dict[str, Rule]:
    return {
        "unfreeze_rank_ratio": exact(
            "TrainingArgs.osft_unfreeze_rank_ratio",
            note="at 0 one direction of each weight is trained; at 1 nothing is protected, and the weights are trained "
            "whole",
        ),
        "target_patterns": exact(
            "TrainingArgs.osft_target_patterns",
            lambda p: p["target_patterns"] if decomposes(p) else None,
            note="matching names are looked up in the model before training, also with unfreeze_rank_ratio=1, where "
            "nothing more comes of them; the default goes by its model_type",
        ),
        "use_processed_dataset": by_hub("tokens and labels are taken from the rows"),
        "unmask_messages": by_hub("the turns of every role are trained"),
        "osft_memory_efficient_init": by_hub(
            "the framework always loads the model once, and decomposes weights one at a time, shared out over processes"
        ),
    }


def decomposes(parameters: Mapping[str, Any]) -> bool:
    """Whether weights are decomposed, rather than trained whole."""
    # Given 1.0 with osft, the framework would take its default of 0.5 (in 0.9: a rank ratio of 0.0 counts as none).
    return bool(parameters.get("unfreeze_rank_ratio", 1.0) < 1.0)


def _why_osft(parameters: Parameters) -> str:
    if parameters.algorithm != "osft":
        return "weights are trained whole"
    return "as the algorithm says" if decomposes(parameters) else "with unfreeze_rank_ratio=1 nothing is protected"


def _when(name: str, reason: Callable[[], str | None]) -> Callable[[Parameters], str | None]:
    """Refuse the parameter for a reason, where it is switched on."""
    return lambda parameters: reason() if parameters[name] else None


def _liger(devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"Liger's kernels need an NVIDIA GPU, and there is {devices}"
    if find_spec("liger_kernel"):
        return None
    return 'liger-kernel is not installed: pip install "training-hub-minitrainer[liger]"'


def _no_fsdp(options: Mapping[str, Any]) -> str | None:
    if options.get("sharding_strategy", "FULL_SHARD") != "FULL_SHARD":
        return "the framework always shards fully over all processes: give FULL_SHARD, or leave it out"
    if options.get("cpu_offload_params"):
        return "the framework keeps its weights on the GPU: leave cpu_offload_params out"
    return None
