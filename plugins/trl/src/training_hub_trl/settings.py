"""Arguments that change the result, or what is seen of it, and that no parameter asks for: each set on purpose."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version

from training_hub.plugin import BatchPlan, Devices, Parameters
from training_hub_trl.conditions import computes_in_bf16
from training_hub_trl.dpo.rules import SETTINGS as OF_PAIRS
from training_hub_trl.lora_rules import attention
from training_hub_trl.rules import Settings, packs


def settings(parameters: Parameters, plan: BatchPlan, devices: Devices) -> Settings:
    """The settings of an algorithm."""
    if parameters.algorithm == "dpo":
        shared = of_the_model(parameters, devices) | of_any_trainer(parameters, devices)
        return {name.replace("SFTConfig.", "DPOConfig."): value for name, value in shared.items()} | OF_PAIRS
    packing = packs(parameters)
    return {
        **({"SFTConfig.fsdp": (True, "as fsdp_options asks")} if parameters.get("fsdp_options") else {}),
        **({} if "logging_steps" in parameters else {"SFTConfig.logging_steps": (1, "an event a step")}),
        **(
            {}
            if "per_device_eval_batch_size" in parameters
            else {"SFTConfig.per_device_eval_batch_size": (1 if packing else plan.micro_batch_size, "as in training")}
        ),
        **(
            {}
            if "micro_batch_size" in parameters
            else {
                "SFTConfig.per_device_train_batch_size": (
                    plan.micro_batch_size,
                    "a process' rows of a step: the hub cuts them by max_tokens_per_gpu",
                )
            }
        ),
        **of_the_model(parameters, devices),
        **of_any_trainer(parameters, devices),
        "SFTConfig.max_length": (
            parameters["max_seq_len"] if packing else None,
            "rows are never truncated: the hub leaves out those that are too long",
        ),
        "SFTConfig.shuffle_dataset": (False, "the hub orders the rows, alike for any number of processes"),
        "SFTConfig.dataset_kwargs": ({"skip_prepare_dataset": True}, "the hub makes the tokens and labels"),
        "SFTConfig.average_tokens_across_devices": (
            True,
            "the loss is a mean over the effective batch's trained tokens",
        ),
        "SFTConfig.loss_type": ("nll", "cross-entropy"),
    }


def of_the_model(parameters: Parameters, devices: Devices) -> Settings:
    """How weights are loaded."""
    frozen = parameters.get("use_lora", "lora_r" in parameters)
    return {
        "from_pretrained.dtype": (
            "bfloat16" if frozen and computes_in_bf16(parameters, devices) else "float32",
            "trained weights are held in float32; the frozen ones under an adapter in what is computed in",
        ),
        **attention(parameters),
        "from_pretrained.use_safetensors": (True, "a pickle can run code"),
    }


def of_any_trainer(parameters: Parameters, devices: Devices) -> Settings:
    """What holds for each of TRL's trainers, under the name of SFT's."""
    gpu = devices.kind == "cuda"
    return {
        **_checkpointing(parameters, gpu=gpu),
        "SFTConfig.bf16": (
            computes_in_bf16(parameters, devices),
            "as bf16 says" if "bf16" in parameters else "mixed precision where the GPU has it",
        ),
        "SFTConfig.use_cpu": (devices.kind == "cpu", str(devices)),
        "SFTConfig.dataloader_drop_last": (False, "every row is trained on"),
        "SFTConfig.dataloader_pin_memory": (gpu, "only a GPU gains by it"),
        "SFTConfig.optim": ("adamw_torch_fused" if gpu else "adamw_torch", "AdamW"),
        "SFTConfig.logging_strategy": ("steps", "events are written by steps"),
        "SFTConfig.logging_first_step": (True, "the first step shows whether training starts from where it should"),
        "SFTConfig.logging_nan_inf_filter": (False, "a NaN must be seen"),
        "SFTConfig.save_strategy": ("no", "the hub says when to save"),
        "SFTConfig.save_total_limit": (None, "the hub makes room, once a newer checkpoint is complete"),
        "SFTConfig.report_to": ([], "the hub tells the trackers, from the events"),
        "SFTConfig.disable_tqdm": (True, "progress is read from the events"),
        "SFTConfig.router_aux_loss_coef": (
            0.0,
            "a mixture of experts learns the rows; its routers' balance where asked",
        ),
        "SFTConfig.ddp_find_unused_parameters": (False, "every trained weight takes part in each step"),
    }


def _checkpointing(parameters: Parameters, *, gpu: bool) -> Settings:
    # transformers 5.22 renamed it, and lets the new name win over the old one without a word.
    names = ("activation_checkpointing", "gradient_checkpointing")
    if any(name in parameters.backend_kwargs for name in names):
        return {}
    name = names[Version(version("transformers")) < Version("5.22")]
    return {f"SFTConfig.{name}": (gpu, "saves memory on a GPU for some time; the result is the same")}
