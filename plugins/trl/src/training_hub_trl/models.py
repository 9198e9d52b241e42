"""Loads the base model for an algorithm, and merges an adapter into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from training_hub.errors import ModelNotFoundError, ParameterError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from training_hub_trl.osft import decompose


def load_model(job: dict[str, Any]) -> Any:
    """The base model, with the adapter or the decomposition that the algorithm trains.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ParameterError: A pattern of layer names matches nothing.
    """
    arguments = dict(job["arguments"]["from_pretrained"])
    path = arguments.pop("pretrained_model_name_or_path")
    arguments["dtype"] = getattr(torch, arguments["dtype"])
    quantisation = {name: v for name, v in job["arguments"].get("BitsAndBytesConfig", {}).items()}
    if quantisation.get("load_in_4bit") or quantisation.get("load_in_8bit"):
        arguments["quantization_config"] = BitsAndBytesConfig(**quantisation)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **arguments)
    except OSError as error:
        raise ModelNotFoundError(f"model_path={path}: {error}") from error
    # A cache of keys and values is of no use in training, and would break the isolation of packed rows.
    model.config.use_cache = False
    match job["algorithm"]:
        case "osft":
            osft = job["arguments"]["OSF"]
            return decompose(model, osft["unfreeze_rank_ratio"], osft.get("target_patterns"))
        case "lora_sft":
            return _adapted(model, job)
        case _:
            return model


def _adapted(model: PreTrainedModel, job: dict[str, Any]) -> Any:
    settings = {name: value for name, value in job["arguments"]["LoraConfig"].items() if value is not None}
    # PEFT draws the adapter's initial weights here.
    torch.manual_seed(job["values"]["seed"])
    try:
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    except ValueError as error:
        if "arget modules" not in str(error):
            raise
        endings = sorted({name.rpartition(".")[2] for name, _ in model.named_modules() if name})
        raise ParameterError(
            f"target_modules={settings['target_modules']!r}: no layer of {job['values']['model_path']} has such a "
            f"name; its layers are named {', '.join(endings)}"
        ) from error


def save_merged(job: dict[str, Any], adapter: Path, directory: Path) -> None:
    """Save the base model with the adapter merged in, in the base model's own precision.

    A quantised base is loaded anew in full precision: merging into rounded weights would lose more than it keeps.
    """
    trust = job["values"]["trust_remote_code"]
    adapted = AutoPeftModelForCausalLM.from_pretrained(
        adapter, dtype="auto", trust_remote_code=trust, device_map="cpu", use_safetensors=True
    )
    merged = adapted.merge_and_unload(safe_merge=True)
    merged.save_pretrained(directory)
    AutoTokenizer.from_pretrained(adapter, trust_remote_code=trust).save_pretrained(directory)
