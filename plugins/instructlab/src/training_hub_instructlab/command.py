"""The command line of the framework's training script, from its own `TrainingArgs`.

The framework's `run_training` writes the same command; it is written here because `run_training` also starts torchrun,
which hides what went wrong, and leaves out three options of the script (scheduler, model class, saving at the end).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructlab.training import TrainingArgs

OPTIONS: Mapping[str, str] = {
    "model_path": "model_name_or_path",
    "ckpt_output_dir": "output_dir",
    "num_epochs": "num_epochs",
    "effective_batch_size": "effective_batch_size",
    "learning_rate": "learning_rate",
    "warmup_steps": "num_warmup_steps",
    "save_samples": "save_samples",
    "log_level": "log_level",
    "max_batch_len": "max_batch_len",
    "random_seed": "seed",
    "adamw_weight_decay": "adamw_weight_decay",
    "adamw_eps": "adamw_eps",
    "validation_split": "validation_split",
    "validation_frequency": "validation_frequency",
}
"""Fields of `TrainingArgs` whose value is given as an option of the script."""
SWITCHES = (
    "checkpoint_at_epoch",
    "accelerate_full_state_at_epoch",
    "disable_flash_attn",
    "trust_remote_code",
    "use_liger",
)
"""Fields of `TrainingArgs` that are switches of the script, by the same name."""
IN_THE_SCRIPT: Mapping[str, str] = {"model_class": "model-class"}
"""Options of the script whose names are written otherwise."""
ELSEWHERE = (
    "data_path",
    "max_seq_len",
    "process_data",
    "data_process_num_cpu_procs",
    "chat_tmpl_path",
    "use_legacy_tmpl",
    "mock_data",
    "mock_data_len",
    "pretraining_config",
    "lora",
    "use_dolomite",
    "is_padding_free",
    "keep_last_checkpoint_only",
    "callbacks",
    "mlflow_tracking_uri",
    "mlflow_experiment_name",
    "mlflow_run_name",
    "wandb_project",
    "wandb_entity",
    "wandb_run_name",
    "tensorboard_log_dir",
    "on_demand_checkpointing",
)
"""Fields of `TrainingArgs` that the script needs not: the hub does it itself, or the framework ignores them."""


def command(arguments: TrainingArgs, script: Mapping[str, Any]) -> list[str]:
    """The options of the framework's training script.

    Args:
        arguments: The framework's own, checked by its own class.
        script: Options of the script that `TrainingArgs` does not have.
    """
    options: dict[str, Any] = {option: getattr(arguments, field) for field, option in OPTIONS.items()}
    options["data_path"] = str(Path(arguments.data_output_dir) / "data.jsonl")
    options["adamw_beta1"], options["adamw_beta2"] = arguments.adamw_betas
    options["distributed_training_framework"] = arguments.distributed_backend.value
    options["fsdp_sharding_strategy"] = arguments.fsdp_options.sharding_strategy.value
    switches = {name: getattr(arguments, name) for name in SWITCHES}
    switches["cpu_offload_params_fsdp"] = arguments.fsdp_options.cpu_offload_params
    deepspeed = arguments.deepspeed_options
    options["save_samples_ds"] = deepspeed.save_samples
    if deepspeed.cpu_offload_optimizer:
        options["cpu_offload_optimizer_ratio"] = deepspeed.cpu_offload_optimizer_ratio
        switches["cpu_offload_optimizer"] = True
        switches["cpu_offload_optimizer_pin_memory"] = deepspeed.cpu_offload_optimizer_pin_memory
    for name, value in script.items():
        chosen = switches if isinstance(value, bool) else options
        chosen[IN_THE_SCRIPT.get(name, name)] = value
    return [
        *(f"--{name}={value}" for name, value in options.items() if value is not None),
        *(f"--{name}" for name, on in switches.items() if on),
    ]
