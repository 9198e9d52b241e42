"""Unsloth's own arguments as further keywords, read from its installed source."""

from __future__ import annotations

from collections.abc import Mapping

from training_hub.backends.devices import Devices
from training_hub.backends.framework_arguments import fields_of, keys_of, parameters_of
from training_hub.errors import nearest
from training_hub.parameters import Parameters
from training_hub_trl import arguments as trl

EXPORT = "export"
"""Owner of what this plugin itself does after training."""

_LOADER = "models/loader.py"
_WITHHELD: Mapping[str, str] = {
    "full_finetuning": "this backend trains adapters; sft trains all weights",
    "token": "a secret given here would be kept in the run's manifest; set HF_TOKEN in the environment",
    "dtype": "what the model is held in follows from bf16 and fp16",
    **dict.fromkeys(("gradient_checkpointing", "activation_checkpointing"), "give use_gradient_checkpointing instead"),
    "fast_inference": "it is for generating, by vLLM, and would take the GPU's memory from training",
}
_NO_KEYWORDS: Mapping[str, frozenset[str]] = {
    # What the hub hands over itself, and what only means something to somebody who holds the objects.
    "from_pretrained": frozenset({"model_name", "on_model_resolved", "auto_model", "auto_config"}),
    "get_peft_model": frozenset({"model", "max_seq_length", "task_type"}),
    "save_pretrained_gguf": frozenset(
        {"save_directory", "tokenizer", "quantization_method", "is_main_process", "state_dict", "save_function"}
        | {"private", "tags", "save_peft_format", "safe_serialization", "variant", "save_method"}
    ),
}


def accepted() -> dict[str, frozenset[str]]:
    """Further keywords by the function or class of Unsloth, PEFT or TRL that takes them.

    Raises:
        BackendUnavailableError: Unsloth's source has another layout than that of the supported releases.
    """
    of_trl = trl.types("lora_sft")
    found = {
        "get_peft_model": parameters_of("unsloth", "models/llama.py", "FastLlamaModel.get_peft_model")
        | parameters_of("unsloth", "models/vision.py", "FastBaseModel.get_peft_model")
        | frozenset(of_trl["LoraConfig"]),
        "from_pretrained": parameters_of("unsloth", _LOADER, "FastLanguageModel.from_pretrained")
        | parameters_of("unsloth", _LOADER, "FastModel.from_pretrained"),
        "SFTConfig": frozenset(of_trl["SFTConfig"]),
        EXPORT: frozenset({"save_gguf"}),
        "save_pretrained_gguf": parameters_of("unsloth", "save.py", "unsloth_save_pretrained_gguf"),
    }
    return {owner: names - _NO_KEYWORDS.get(owner, frozenset()) for owner, names in found.items()}


def withheld(parameters: Parameters, devices: Devices) -> dict[str, str]:
    """Arguments that are not to be given as further keywords here, and why."""
    idle = _idle_on_cpu() if devices.kind == "cpu" else frozenset()
    of_no_file = _gguf_alone() - {"save_gguf"} if "save_gguf" not in parameters.backend_kwargs else frozenset()
    return {
        **trl.withheld(devices),
        **dict.fromkeys(
            of_no_file,
            "it says how a GGUF file is made; say which one with save_gguf, for instance save_gguf='q4_k_m'",
        ),
        **dict.fromkeys(idle, "Unsloth does without it on a CPU"),
        **_WITHHELD,
    }


def unknown_gguf(parameters: Parameters) -> list[str]:
    """What is wrong with the kinds of GGUF file asked for; Unsloth would say so only after training."""
    wanted = parameters.backend_kwargs.get("save_gguf") or []
    plain = keys_of("unsloth", "save.py", "ALLOWED_QUANTS")
    with_matrix = keys_of("unsloth", "save.py", "IMATRIX_QUANTS")
    problems = []
    for kind in [wanted] if isinstance(wanted, str) else wanted:
        if kind in plain or (kind in with_matrix and "imatrix_file" in parameters.backend_kwargs):
            continue
        reason = (
            "it needs an importance matrix: give imatrix_file"
            if kind in with_matrix
            else f"no such kind{nearest(str(kind), plain | with_matrix)}; there are: {', '.join(sorted(plain))}"
        )
        problems.append(f"save_gguf={kind!r}{parameters.source('save_gguf')}: {reason}")
    return problems


def _idle_on_cpu() -> frozenset[str]:
    """Arguments that do something on a GPU, and that Unsloth's CPU functions take and drop."""
    cpu = [
        parameters_of("unsloth_zoo", "cpu/loader.py", f"FastCPUModel.{name}")
        for name in ("from_pretrained", "get_peft_model")
    ]
    taken = cpu[0] | cpu[1] | fields_of("peft", "tuners/lora/config.py", ("LoraConfig",))
    gguf = parameters_of("unsloth_zoo", "cpu/loader.py", "save_pretrained_gguf")
    own = accepted()
    return (own["from_pretrained"] | own["get_peft_model"]) - taken | (_gguf_alone() - gguf)


def _gguf_alone() -> frozenset[str]:
    own = accepted()
    return own["save_pretrained_gguf"] - own["from_pretrained"] - own["get_peft_model"] - own["SFTConfig"]
