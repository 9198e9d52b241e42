"""What becomes of each parameter of `lora_sft` in Unsloth, as a table.

Unsloth trains through TRL's trainer, so the table is the trl backend's but for how the model and the adapter are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

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
    refused,
    row_length,
)
from training_hub_trl import conditions
from training_hub_trl import rules as trl
from training_hub_trl import settings as of_trl

_OWNERS = {"LoraConfig": "get_peft_model", "BitsAndBytesConfig": "from_pretrained"}
"""TRL's and PEFT's argument classes, and the functions of Unsloth that take the same arguments."""
_STARTS_THAT_NEED_DATA = {
    "corda": "it needs the layers' inputs on sample rows first (PEFT's preprocess_corda), which nothing here computes",
    "eva": "Unsloth only zeroes the adapter for it, and does not compute the directions from the data",
    "lora_ga": "it needs gradients on sample rows first (PEFT's preprocess_loraga), which nothing here computes",
}


def rules(plan: BatchPlan, devices: Devices, launch: LaunchPlan | None, sources: FrameworkSources) -> dict[str, Rule]:
    """The table, for a way to cut batches and the devices at hand.

    Args:
        plan: How batches are cut.
        devices: What is here.
        launch: The processes that train; None where the caller's does.
        sources: Reads what values the frameworks know.
    """
    shared = trl.moved(trl.rules("lora_sft", plan, devices, launch, sources), _OWNERS)
    gpu = devices.kind == "cuda"
    processes = by_hub("processes of their own: torchrun's, where there are several")
    return shared | {
        "model_path": exact("from_pretrained.model_name"),
        "max_seq_len": exact(
            "from_pretrained.max_seq_length", row_length, note="longer rows are left out by the hub, with a warning"
        ),
        "seed": exact("SFTConfig.seed", note="also get_peft_model.random_state, and the hub's order of rows"),
        "nproc_per_node": processes,
        "nnodes": processes,
        "use_liger": refused("Unsloth brings fused kernels of its own, which Liger's would replace"),
        "target_modules": replace(
            shared["target_modules"],
            note="by default the linear layers but the head; of a vision-language model those of the language part",
            refuse=_trained_in_full,
        ),
        "init_lora_weights": replace(shared["init_lora_weights"], refuse=lambda p: _no_such_start(p, sources)),
        "bnb_4bit_quant_type": by_hub(
            "nf4 is what Unsloth quantises 4-bit weights to", refuse=_four_bit("bnb_4bit_quant_type", "nf4")
        ),
        "bnb_4bit_use_double_quant": by_hub(
            "with 4-bit weights Unsloth always does", refuse=_four_bit("bnb_4bit_use_double_quant", True)
        ),
        "bnb_4bit_compute_dtype": by_hub(
            "4-bit weights are computed in what everything is computed in",
            refuse=lambda p: (
                _four_bit("bnb_4bit_compute_dtype", dtype(p, devices))(p) if p.given("bnb_4bit_compute_dtype") else None
            ),
        ),
        "flash_attention": by_hub(
            "Unsloth takes the fastest attention that is installed",
            refuse=lambda p: _attention(p["flash_attention"], shared["flash_attention"], p),
        ),
        "sample_packing": replace(
            shared["sample_packing"],
            refuse=lambda p: (
                None if gpu or not p["sample_packing"] else "Unsloth packs on a GPU only; the trl backend does"
            ),
        ),
        "bf16": replace(shared["bf16"], refuse=lambda p: _bf16(p, devices)),
        "enable_model_splitting": replace(
            shared["enable_model_splitting"],
            value=lambda p: (
                "balanced" if p["enable_model_splitting"] else {"": 0} if gpu and plan.world_size == 1 else None
            ),
            note="one process on one GPU, or over all of them",
        ),
        "save_merged_model": by_hub(
            "base and adapter are merged on the CPU by a process of its own, saved in `merged`"
        ),
        "finetune_vision_layers": approximate(
            "get_peft_model.finetune_vision_layers",
            "the hub's rows are text, which does not pass through the vision layers: their adapters are made, saved, "
            "and stay as they start",
            lambda p: True if p["finetune_vision_layers"] else None,
            refuse=lambda p: None if gpu or not p["finetune_vision_layers"] else _vision(devices),
        ),
        "finetune_language_layers": refused(
            "the hub's rows are text: with the language layers left out nothing would be learnt"
        ),
    }


def settings(parameters: Parameters, plan: BatchPlan, devices: Devices) -> trl.Settings:
    """Arguments that change the result and that no parameter asks for, each set on purpose."""
    gpu = devices.kind == "cuda"
    shared = of_trl.settings(parameters, plan, devices)
    checkpointing = parameters.backend_kwargs.get("use_gradient_checkpointing", "unsloth" if gpu else False)
    return {name: entry for name, entry in shared.items() if name.startswith("SFTConfig.")} | {
        "from_pretrained.dtype": (dtype(parameters, devices), "the frozen weights are held in what is computed in"),
        "get_peft_model.random_state": (parameters["seed"], "the adapter's start"),
        "get_peft_model.use_gradient_checkpointing": (
            checkpointing,
            "saves memory on a GPU for some time; the result is the same",
        ),
        "SFTConfig.gradient_checkpointing": (bool(checkpointing), "as use_gradient_checkpointing says"),
        **(
            {}
            if not gpu
            else {"from_pretrained.use_exact_model_name": (True, "the model named, and no quantised copy")}
        ),
        **(
            {}
            if parameters["sample_packing"] or parameters.backend_kwargs.get("packing")
            else {"SFTConfig.padding_free": (False, "rows lie beside each other, as on the other backends")}
        ),
        **(
            {}
            if not parameters["finetune_vision_layers"]
            else {"SFTConfig.ddp_find_unused_parameters": (True, "text does not pass through the vision layers")}
        ),
    }


def dtype(parameters: Parameters, devices: Devices) -> str:
    """What the model is held and computed in."""
    if devices.kind != "cuda":
        return "float32"
    return "float16" if parameters["fp16"] or not devices.bf16 else "bfloat16"


def _four_bit(name: str, only: Any) -> Callable[[Parameters], str | None]:
    """Refuse any other value, where weights are quantised to 4 bits at all."""

    def refuse(parameters: Parameters) -> str | None:
        if not parameters["load_in_4bit"] or parameters[name] == only:
            return None
        return f"Unsloth quantises with {only!r}; leave it out, or use the trl backend"

    return refuse


def _trained_in_full(parameters: Parameters) -> str | None:
    # In a list as an entry, in a pattern as a part of it.
    found = [name for name in ("embed_tokens", "lm_head") if name in (parameters["target_modules"] or ())]
    if not found:
        return None
    return f"Unsloth trains {' and '.join(found)} in full instead; give modules_to_save for that"


def _no_such_start(parameters: Parameters, sources: FrameworkSources) -> str | None:
    name = str(parameters["init_lora_weights"])
    if name != "loftq":
        return _STARTS_THAT_NEED_DATA.get(name) or conditions.no_such_start(parameters["init_lora_weights"], sources)
    if not parameters["loftq_config"]:
        return "it needs loftq_config, for instance {'loftq_bits': 4}"
    missing = [package for package in ("bitsandbytes", "scipy") if not find_spec(package)]
    return f"PEFT needs {' and '.join(missing)} for it: pip install {' '.join(missing)}" if missing else None


def _attention(asked: bool | None, of_trl: Rule, parameters: Parameters) -> str | None:
    if asked:
        assert of_trl.refuse
        return of_trl.refuse(parameters)
    if asked is False and find_spec("flash_attn"):
        return "Unsloth uses FlashAttention where it is installed, as it is here; uninstall it or use the trl backend"
    return None


def _bf16(parameters: Parameters, devices: Devices) -> str | None:
    asked = parameters["bf16"]
    if asked is None:
        return None
    if devices.kind != "cuda":
        return f"Unsloth computes in float32 here: there is {devices}" if asked else None
    if asked:
        return None if devices.bf16 else "this GPU does not compute in bfloat16"
    return (
        None
        if parameters["fp16"] or not devices.bf16
        else "on a GPU Unsloth computes in bfloat16, or float16 with fp16"
    )


def _vision(devices: Devices) -> str:
    return f"Unsloth trains vision-language models on a GPU only, and there is {devices}"
