"""What becomes of the parameters of `lora_sft` in PEFT and TRL, by group: another algorithm takes those it has."""

from __future__ import annotations

from training_hub.plugin import (
    BatchPlan,
    Devices,
    FrameworkSources,
    Parameters,
    Rule,
    approximate,
    by_hub,
    exact,
    refused,
    when,
)
from training_hub_trl.conditions import bitsandbytes, flash_attention, needs_gpu, no_such_start, splitting


def rules(plan: BatchPlan, devices: Devices, sources: FrameworkSources) -> dict[str, Rule]:
    """The rules of `lora_sft` besides those of every algorithm.

    Args:
        plan: How batches are cut.
        devices: What is at hand.
        sources: Reads what PEFT knows.
    """
    return {
        **adapter(sources),
        **quantisation(devices),
        **micro_batches(plan, devices),
        **SAVING,
        "eval_data_path": by_hub("read like data_path"),
        "per_device_eval_batch_size": exact(
            "SFTConfig.per_device_eval_batch_size",
            lambda p: 1 if p["sample_packing"] else p["per_device_eval_batch_size"] or plan.micro_batch_size,
        ),
        "enable_model_splitting": exact(
            "from_pretrained.device_map",
            lambda p: "auto" if p["enable_model_splitting"] else None,
            refuse=when("enable_model_splitting", lambda: splitting(plan, devices)),
        ),
        "finetune_vision_layers": refused("only the language layers are adapted here; the unsloth backend adapts both"),
        "finetune_language_layers": refused("only the language layers are adapted here"),
    }


def adapter(sources: FrameworkSources) -> dict[str, Rule]:
    """The group `Adapter`."""
    return {
        "lora_r": exact("LoraConfig.r"),
        "lora_alpha": exact("LoraConfig.lora_alpha"),
        "lora_dropout": exact("LoraConfig.lora_dropout"),
        "target_modules": exact(
            "LoraConfig.target_modules", lambda p: p["target_modules"] or "all-linear", refuse=_adapts_the_head
        ),
        "use_rslora": exact("LoraConfig.use_rslora"),
        "use_dora": exact("LoraConfig.use_dora"),
        "init_lora_weights": exact(
            "LoraConfig.init_lora_weights", refuse=lambda p: no_such_start(p["init_lora_weights"], sources)
        ),
        "rank_pattern": exact("LoraConfig.rank_pattern"),
        "alpha_pattern": exact("LoraConfig.alpha_pattern"),
        "loftq_config": exact("LoraConfig.loftq_config", refuse=_no_loftq),
    }


def quantisation(devices: Devices) -> dict[str, Rule]:
    """The group `Quantisation`."""

    def bits(name: str) -> Rule:
        return exact(f"BitsAndBytesConfig.{name}", refuse=when(name, lambda: bitsandbytes(devices)))

    def four_bit(name: str) -> Rule:
        return exact(f"BitsAndBytesConfig.{name}", lambda p: p[name] if p["load_in_4bit"] else None)

    return {
        "load_in_4bit": bits("load_in_4bit"),
        "load_in_8bit": bits("load_in_8bit"),
        "bnb_4bit_quant_type": four_bit("bnb_4bit_quant_type"),
        "bnb_4bit_compute_dtype": four_bit("bnb_4bit_compute_dtype"),
        "bnb_4bit_use_double_quant": four_bit("bnb_4bit_use_double_quant"),
    }


def micro_batches(plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    """The group `MicroBatches`."""
    return {
        "max_tokens_per_gpu": by_hub("bounds the micro-batch where micro_batch_size is not given"),
        "micro_batch_size": exact("SFTConfig.per_device_train_batch_size", lambda p: plan.micro_batch_size),
        "gradient_accumulation_steps": by_hub("part of the effective batch, see there"),
        "flash_attention": by_hub(
            "from_pretrained.attn_implementation, flash_attention_2 or sdpa; by default as transformers does for the "
            "model: PyTorch's own attention (SDPA) where it has that",
            refuse=lambda p: _other_attention(p) or (flash_attention(devices) if p["flash_attention"] else None),
        ),
        "sample_packing": approximate(
            "SFTConfig.packing",
            "rows stay apart and the loss of each is unchanged, but a packed sequence counts as one row of the "
            "effective batch",
        ),
        "bf16": by_hub("SFTConfig.bf16, by default where the GPU can"),
        "fp16": exact("SFTConfig.fp16", refuse=when("fp16", lambda: needs_gpu(devices))),
        "tf32": exact("SFTConfig.tf32", refuse=when("tf32", lambda: needs_gpu(devices))),
    }


SAVING = {
    "save_steps": by_hub("a checkpoint every so many steps"),
    "eval_steps": exact("SFTConfig.eval_steps", lambda p: p["eval_steps"] or p["validation_frequency"]),
    "validation_frequency": by_hub("the same as eval_steps"),
    "logging_steps": exact("SFTConfig.logging_steps"),
    "save_total_limit": by_hub("the oldest checkpoints are deleted; never the best one"),
    "save_model": by_hub("the adapter is saved in `final`"),
    "save_merged_model": by_hub("base and adapter are merged on the CPU and saved in `merged`"),
}
"""The group `Saving`."""


def _adapts_the_head(parameters: Parameters) -> str | None:
    if "lm_head" not in (parameters["target_modules"] or ()):
        return None
    return "TRL computes the loss from the head's weight directly, so an adapter on lm_head would not be trained"


def attention(parameters: Parameters) -> dict[str, tuple[str, str]]:
    """The attention that `flash_attention` asks for, as a setting; none where it says nothing."""
    if (asked := parameters.get("flash_attention")) is None:
        return {}
    return {
        "from_pretrained.attn_implementation": ("flash_attention_2" if asked else "sdpa", "as flash_attention says")
    }


def _other_attention(parameters: Parameters) -> str | None:
    both = parameters["flash_attention"] is not None and "attn_implementation" in parameters.backend_kwargs
    return "attn_implementation says which attention, too; give one of them" if both else None


def _no_loftq(parameters: Parameters) -> str | None:
    idle = parameters["loftq_config"] and parameters["init_lora_weights"] != "loftq"
    return "it is used only with init_lora_weights='loftq'" if idle else None
