"""TRL's and PEFT's own arguments as further keywords, read from their installed source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training_hub.plugin import Devices, FrameworkSources

_UPLOAD = "a run only writes to ckpt_output_dir; upload from there with `hf upload`"
_TRACKERS = (
    "the hub tells the trackers, from the events: give wandb_project, mlflow_tracking_uri or tensorboard_log_dir"
)
_ROWS = "the hub reads the rows and makes the tokens, as dataset_type and the field_* parameters of lora_sft say"
_TRAINED = "the hub says which tokens are trained: those of the assistant's turns, or of all with unmask in a row"
_TOO_LONG = "rows are never cut: give max_seq_len, and longer ones are left out"
_ORDER = "the hub orders the rows, by seed and epoch, alike for any number of processes, and leaves none out"
_SAVES = "the hub saves: see checkpoint_at_epoch, save_samples, save_best_val_loss and keep_last_checkpoint_only"
_VALIDATION = "validation measures the loss, and nothing else"
_RESUME = "give resume instead"
_BATCHES = "the effective batch is exact: give max_tokens_per_gpu, or micro_batch_size to lora_sft and dpo"

WITHHELD = {
    **dict.fromkeys(
        ("push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo", "hub_always_push", "hub_revision"), _UPLOAD
    ),
    "hub_token": "a secret given here would be kept in the run's manifest; set HF_TOKEN in the environment",
    **dict.fromkeys(
        ("report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        _TRACKERS,
    ),
    **dict.fromkeys(
        ("dataset_text_field", "dataset_num_proc", "dataset_kwargs", "length_column_name", "remove_unused_columns"),
        _ROWS,
    ),
    **dict.fromkeys(("completion_only_loss", "assistant_only_loss"), _TRAINED),
    **dict.fromkeys(("max_length", "truncation_mode"), _TOO_LONG),
    **dict.fromkeys(("eos_token", "chat_template_path"), "the model's own is used; set it in the model's directory"),
    **dict.fromkeys(
        ("shuffle_dataset", "data_seed", "train_sampling_strategy", "dataloader_drop_last"),
        _ORDER,
    ),
    **dict.fromkeys(
        (
            *("save_strategy", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
            *("save_on_each_node", "enable_jit_checkpoint", "save_steps", "save_total_limit"),
        ),
        _SAVES,
    ),
    **dict.fromkeys(("resume_from_checkpoint", "ignore_data_skip", "restore_callback_states_from_checkpoint"), _RESUME),
    **dict.fromkeys(
        ("prediction_loss_only", "batch_eval_metrics", "include_for_metrics", "eval_do_concat_batches"), _VALIDATION
    ),
    **dict.fromkeys(("logging_strategy", "logging_first_step"), "events are written by steps, from the first one on"),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), "only transformers' example scripts read it"),
    "disable_tqdm": "progress is shown by the hub, from the events",
    "logging_nan_inf_filter": "a NaN must be seen; say with on_nan what becomes of the run",
    **dict.fromkeys(("per_device_train_batch_size", "auto_find_batch_size"), _BATCHES),
    "model_init_kwargs": "the hub loads the model; give revision or attn_implementation themselves",
    "local_rank": "torchrun says it",
    "fsdp": "give fsdp_options to sft",
}
"""Arguments that do nothing on the hub's way, or would undo what it promises, and what to give instead."""
_FOR_GPUS = ("fp16", "tf32", "deepspeed", "activation_offloading", "parallelism_config")


def withheld(devices: Devices) -> dict[str, str]:
    """Arguments that are not to be given as further keywords here, and why."""
    if devices.kind == "cuda":
        return WITHHELD
    return WITHHELD | dict.fromkeys(_FOR_GPUS, f"it needs a GPU, and there is {devices}")


def types(algorithm: str, sources: FrameworkSources) -> dict[str, dict[str, Any]]:
    """Further keywords and the types of their values, by the class of TRL, transformers or PEFT that takes them.

    Args:
        algorithm: Whose run takes them.
        sources: Reads them, and notes what it cannot read.
    """
    config, file = ("DPOConfig", "dpo_config.py") if algorithm == "dpo" else ("SFTConfig", "sft_config.py")
    classes: dict[str, dict[str, Any]] = {
        config: {
            **sources.types_of("transformers", "training_args.py", ("TrainingArguments",)),
            **sources.types_of("trl", "trainer/base_config.py", ("_BaseConfig",)),
            **sources.types_of("trl", f"trainer/{file}", (config,)),
        },
        "from_pretrained": {"revision": str, "attn_implementation": str},
    }
    if algorithm in ("lora_sft", "dpo"):
        classes["LoraConfig"] = dict(of_lora(sources))
    return classes


def of_lora(sources: FrameworkSources) -> Mapping[str, Any]:
    """The arguments of PEFT's `LoraConfig`, with the types of their values."""
    return sources.types_of("peft", "tuners/lora/config.py", ("LoraConfig",))
