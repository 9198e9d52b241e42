"""The command line of the framework's training script, from its own `TrainingArgs`.

The framework's `run_training` writes the same command; it is written here because `run_training` also starts torchrun,
which hides what went wrong, and leaves out three options of the script (scheduler, model class, saving at the end).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub_instructlab.rows import train_file

if TYPE_CHECKING:
    from instructlab.training import TrainingArgs

OPTIONS: Mapping[str, str] = {
    "model_path": "model_name_or_path",
    "ckpt_output_dir": "output_dir",
    "warmup_steps": "num_warmup_steps",
    "random_seed": "seed",
    **{name: name for name in ("num_epochs", "effective_batch_size", "max_batch_len", "learning_rate", "log_level")},
    **{name: name for name in ("adamw_weight_decay", "adamw_eps", "save_samples")},
    **{name: name for name in ("validation_split", "validation_frequency")},
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


def command(arguments: TrainingArgs, script: Mapping[str, Any]) -> list[str]:
    """The options of the framework's training script.

    Args:
        arguments: The framework's own, checked by its own class.
        script: Options of the script that `TrainingArgs` does not have.
    """
    sharding, deepspeed = arguments.fsdp_options, arguments.deepspeed_options
    offloads = deepspeed.cpu_offload_optimizer
    options: dict[str, Any] = {
        **{option: getattr(arguments, field) for field, option in OPTIONS.items()},
        **{name: bool(getattr(arguments, name)) for name in SWITCHES},
        "data_path": str(train_file(Path(arguments.data_output_dir))),
        "adamw_beta1": arguments.adamw_betas[0],
        "adamw_beta2": arguments.adamw_betas[1],
        "distributed_training_framework": arguments.distributed_backend.value,
        "fsdp_sharding_strategy": sharding.sharding_strategy.value,
        "cpu_offload_params_fsdp": bool(sharding.cpu_offload_params),
        "save_samples_ds": deepspeed.save_samples,
        "cpu_offload_optimizer": bool(offloads),
        "cpu_offload_optimizer_ratio": deepspeed.cpu_offload_optimizer_ratio if offloads else None,
        "cpu_offload_optimizer_pin_memory": bool(offloads and deepspeed.cpu_offload_optimizer_pin_memory),
        **script,
    }
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in options.items()
        if value is not None and value is not False
    ]
