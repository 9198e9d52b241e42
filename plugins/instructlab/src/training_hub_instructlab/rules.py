"""What becomes of each hub parameter in instructlab-training, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from training_hub.backends.batches import row_length
from training_hub.backends.devices import Devices
from training_hub.backends.translation import Rule, by_hub, exact, refused
from training_hub.parameters import Parameters
from training_hub.store.directory import RunDirectory, data_directory, node_directory
from training_hub.trackers.config import PARAMETERS as TRACKERS
from training_hub.trackers.config import TOLD

Settings: TypeAlias = dict[str, tuple[Any, str]]

SCHEDULERS = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
"""The schedulers that the framework's training script lets through."""
MAX_GRAD_NORM = 1.0
"""What the framework scales gradients down to, always."""
MAIN = "main_ds"
"""The framework's training script; as the owner of an argument: an option that it has and `TrainingArgs` has not."""


def rules(devices: Devices, local: int) -> dict[str, Rule]:
    """The table for `sft`, for the devices at hand and the processes on this node."""
    saved = "the framework writes it, then it is moved to"
    return {
        "model_path": exact("TrainingArgs.model_path"),
        "data_path": by_hub("read, checked and turned into tokens and labels by the hub"),
        "ckpt_output_dir": Rule(
            "hub",
            "TrainingArgs.ckpt_output_dir",
            lambda p: str(_working_directory(p)),
            "the framework writes in logs/instructlab; checkpoints are moved from there to the hub's names",
        ),
        "backend": by_hub("this one"),
        "overwrite_output_dir": by_hub("checked before the run"),
        "data_output_dir": exact("TrainingArgs.data_output_dir", lambda p: str(data_directory(p))),
        "trust_remote_code": exact("TrainingArgs.trust_remote_code", note="whatever TRUST_REMOTE_CODE says"),
        "seed": exact("TrainingArgs.random_seed", note="and the hub's choice of validation rows"),
        "num_epochs": exact("TrainingArgs.num_epochs"),
        "effective_batch_size": exact(
            "TrainingArgs.effective_batch_size",
            note="rows of all processes; the last step of an epoch takes what is left",
        ),
        "max_seq_len": exact("TrainingArgs.max_seq_len", row_length, note="longer rows are left out, with a warning"),
        "max_tokens_per_gpu": exact(
            "TrainingArgs.max_batch_len",
            note="with padding, where there is no FlashAttention; it changes no result",
        ),
        "learning_rate": exact("TrainingArgs.learning_rate"),
        "lr_scheduler": exact(f"{MAIN}.lr_scheduler", refuse=_scheduler),
        "lr_scheduler_kwargs": refused("the framework gives its schedulers no further arguments"),
        "warmup_steps": exact("TrainingArgs.warmup_steps"),
        "beta1": exact("TrainingArgs.adamw_betas", _betas),
        "beta2": exact("TrainingArgs.adamw_betas", _betas),
        "eps": exact("TrainingArgs.adamw_eps"),
        "weight_decay": exact("TrainingArgs.adamw_weight_decay", note="of all weights, norms and biases included"),
        "max_grad_norm": Rule("exact", note=f"always {MAX_GRAD_NORM}; another value is refused", refuse=_grad_norm),
        "use_liger": exact(
            "TrainingArgs.use_liger",
            note=f"with {MAIN}'s model-class, without which the framework would not act on it",
            refuse=lambda p: _liger(devices) if p["use_liger"] else None,
        ),
        "checkpoint_at_epoch": exact("TrainingArgs.checkpoint_at_epoch", note=f"{saved} checkpoint-STEP"),
        "save_final_checkpoint": exact(f"{MAIN}.save_last", _saves_last, note=f"{saved} final"),
        "keep_last_checkpoint_only": by_hub("older checkpoints are deleted once a newer one is complete"),
        "validation_split": exact(
            "TrainingArgs.validation_split", note="rows drawn by the hub; the framework is made to split off the same"
        ),
        "validation_frequency": exact(
            "TrainingArgs.validation_frequency", note="by default the steps of an epoch, counted once the rows are made"
        ),
        "save_best_val_loss": by_hub("a checkpoint when the validation loss improves, kept from deletion"),
        "val_loss_improvement_threshold": by_hub("least fall that counts"),
        "is_pretraining": by_hub("documents are cut in blocks, and every token is trained"),
        "block_size": by_hub("tokens in a block"),
        "document_column_name": by_hub("key of a document"),
        "nproc_per_node": by_hub("given to torchrun"),
        "nnodes": by_hub("given to torchrun"),
        "node_rank": by_hub("given to torchrun"),
        "rdzv_id": by_hub("given to torchrun"),
        "rdzv_endpoint": by_hub("given to torchrun"),
        "master_addr": by_hub("given to torchrun"),
        "master_port": by_hub("given to torchrun"),
        **dict.fromkeys(TRACKERS, by_hub(TOLD)),
        "callbacks": by_hub("called from the run's events; they can stop it, save, and set the learning rate"),
        "callback_errors": by_hub("stop or warn"),
        "resume": by_hub(
            "the framework loads the full state of a checkpoint: weights, optimizer, schedule, random numbers; the "
            "order of rows follows from seed and epoch",
        ),
        "resume_changes": by_hub("what may differ from the run resumed"),
        "on_nan": by_hub("each step's loss is looked at before the optimizer's step"),
        "grace_seconds": by_hub("the processes are ended after it"),
        "hang_seconds": by_hub("the processes are ended after it"),
        "save_samples": by_hub(
            "a checkpoint at the first step that reaches each multiple of so many rows; the framework alone would save "
            "only where the rows are an exact multiple"
        ),
        "accelerate_full_state_at_epoch": exact(
            "TrainingArgs.accelerate_full_state_at_epoch",
            note="in checkpoint-STEP/full_state, of every checkpoint, so that the run can go on from it",
        ),
        "fsdp_options": exact(
            "TrainingArgs.fsdp_options",
            lambda p: _sharding(p, local),
            note="by default HYBRID_SHARD, and FULL_SHARD where a node has one process",
            refuse=lambda p: _no_sharding(p, local),
        ),
    }


def settings(parameters: Parameters, devices: Devices, local: int) -> Settings:
    """Arguments that no parameter asks for, each set on purpose."""
    flash = devices.kind == "cuda" and find_spec("flash_attn") is not None
    liger: Settings = {f"{MAIN}.model_class": ("Liger", "as use_liger asks")} if parameters["use_liger"] else {}
    sharding: Settings = {}
    if parameters["fsdp_options"] is None and _alone(parameters, local):
        sharding = {
            "TrainingArgs.fsdp_options": (
                {"sharding_strategy": "FULL_SHARD"},
                "with one process a node HYBRID_SHARD would train replicas that are never brought together",
            )
        }
    return {
        "TrainingArgs.data_path": (parameters["data_path"], "for the record: the framework is given the hub's rows"),
        "TrainingArgs.process_data": (False, "the hub makes the tokens and labels"),
        "TrainingArgs.disable_flash_attn": (
            not flash,
            "" if flash else "there is no flash-attn" if devices.kind == "cuda" else f"there is {devices}",
        ),
        "TrainingArgs.distributed_backend": ("fsdp", "weights are held in float32 and computed with in bfloat16"),
        "TrainingArgs.save_samples": (1, "it asks after every step, and the hub says whether to save, and to go on"),
        **liger,
        **sharding,
    }


def _working_directory(parameters: Mapping[str, Any]) -> Path:
    return RunDirectory(node_directory(parameters)).logs / "instructlab"


def _betas(parameters: Mapping[str, Any]) -> list[float]:
    return [parameters["beta1"], parameters["beta2"]]


def _saves_last(parameters: Mapping[str, Any]) -> bool:
    # The checkpoint of the last epoch is the same; it is linked then, which takes no time.
    return bool(parameters["save_final_checkpoint"] and not parameters["checkpoint_at_epoch"])


def _scheduler(parameters: Parameters) -> str | None:
    if parameters["lr_scheduler"] in SCHEDULERS:
        return None
    return f"the framework knows {', '.join(SCHEDULERS)}"


def _grad_norm(parameters: Parameters) -> str | None:
    if parameters["max_grad_norm"] == MAX_GRAD_NORM:
        return None
    return f"the framework always scales gradients down to a norm of {MAX_GRAD_NORM}; leave it out"


def _alone(parameters: Mapping[str, Any], local: int) -> bool:
    """Whether each of several nodes has one process, so that there is nothing to shard over within a node."""
    return bool(parameters["nnodes"] > 1 and local == 1)


def _sharding(parameters: Mapping[str, Any], local: int) -> dict[str, Any] | None:
    options = dict(parameters["fsdp_options"] or {})
    if options and _alone(parameters, local):
        options.setdefault("sharding_strategy", "FULL_SHARD")
    return options or None


def _no_sharding(parameters: Parameters, local: int) -> str | None:
    asked = (parameters["fsdp_options"] or {}).get("sharding_strategy")
    if asked == "HYBRID_SHARD" and _alone(parameters, local):
        return (
            "with one process a node PyTorch would train a replica on each and never bring them together: give "
            "FULL_SHARD or SHARD_GRAD_OP"
        )
    return None


def _liger(devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"Liger's kernels need a GPU, and there is {devices}"
    if find_spec("liger_kernel"):
        return None
    return 'liger-kernel is not installed: pip install "training-hub-instructlab[liger]"'
