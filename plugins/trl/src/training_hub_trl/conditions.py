"""What arguments need of a machine and its packages: why they cannot be had here, told without importing any."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any, get_args

from training_hub.plugin import BatchPlan, Devices, FrameworkSources, Parameters, nearest
from training_hub_trl.arguments import of_lora


def needs_gpu(devices: Devices) -> str | None:
    """Why what only a GPU does cannot be done."""
    return None if devices.kind == "cuda" else f"it needs a GPU, and there is {devices}"


def bitsandbytes(devices: Devices) -> str | None:
    """Why weights cannot be held in 4 or 8 bits."""
    if devices.kind != "cuda":
        return f"bitsandbytes needs a GPU, and there is {devices}"
    if not find_spec("bitsandbytes"):
        return 'bitsandbytes is not installed: pip install "training-hub-trl[quantised]"'
    return None


def flash_attention(devices: Devices) -> str | None:
    """Why the flash-attn package cannot be used."""
    if devices.kind != "cuda":
        return f"FlashAttention needs a GPU, and there is {devices}"
    return None if find_spec("flash_attn") else "flash-attn is not installed: pip install flash-attn"


def splitting(plan: BatchPlan, devices: Devices) -> str | None:
    """Why one model cannot be spread over several GPUs."""
    if plan.world_size > 1:
        return f"it is one process over several GPUs, and nproc_per_node x nnodes is {plan.world_size}"
    if devices.kind != "cuda" or devices.count < 2:
        return f"it needs several GPUs, and there is {devices}"
    return None


def computes_in_bf16(parameters: Parameters, devices: Devices) -> bool:
    """Whether bfloat16 is computed in: as asked, and where nothing is asked, where the GPU can."""
    asked = parameters.get("bf16")
    if asked is None:
        return devices.kind == "cuda" and devices.bf16 and not parameters.get("fp16")
    return bool(asked)


def no_such_start(name: bool | str, sources: FrameworkSources) -> str | None:
    """Why an adapter cannot start so, or None.

    Args:
        name: `init_lora_weights`.
        sources: Reads which starts PEFT knows; where it cannot, PEFT itself is asked, once the model is loaded.
    """
    if isinstance(name, bool) or re.fullmatch(r"pissa_niter_\d+", name):
        return None
    if name in ("eva", "corda", "lora_ga"):
        return "PEFT draws these weights from activations on rows, which is not done here"
    if name == "loftq":
        return None if find_spec("scipy") else "PEFT needs scipy for it: pip install scipy"
    kinds = get_args(of_lora(sources).get("init_lora_weights", Any))
    known = {choice for kind in kinds for choice in get_args(kind) if choice.isalpha()}
    if not known or name in known:
        return None
    return f"PEFT knows no such start{nearest(name, known)}; there are {', '.join(sorted(known))}"
