"""Unsloth's own arguments as further keywords, read from its installed source."""

from __future__ import annotations

from collections.abc import Mapping

from training_hub.plugin import Devices, FrameworkSources, Parameters, nearest
from training_hub_trl import arguments as trl

EXPORT = "export"
"""Owner of what this plugin itself does after training."""

_NOT_ON_CPU = frozenset(
    {
        *("adamw_8bit", "adamw_bnb_8bit", "ademamix_8bit", "lion_8bit", "paged_adamw_32bit", "paged_adamw_8bit"),
        *("paged_ademamix_32bit", "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit", "rmsprop_bnb"),
        *("galore_adamw_8bit", "galore_adamw_8bit_layerwise"),
        *("rmsprop_bnb_8bit", "rmsprop_bnb_32bit", "adamw_torch_8bit", "adamw_torch_npu_fused", "adamw_torch_xla"),
    }
)
"""Optimizers that Unsloth replaces on a CPU."""
_LOADER = "models/loader.py"
_WITHHELD: Mapping[str, str] = {
    "full_finetuning": "this backend trains adapters; sft trains all weights",
    "token": "a secret given here would be kept in the run's manifest; set HF_TOKEN in the environment",
    "attn_implementation": "Unsloth takes the fastest attention that is installed; the trl backend takes it",
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


def accepted(sources: FrameworkSources) -> dict[str, frozenset[str]]:
    """Further keywords by the function or class of Unsloth, PEFT or TRL that takes them.

    Args:
        sources: Reads them, and notes what it cannot read.
    """
    of_trl = trl.types("lora_sft", sources)
    found = {
        "get_peft_model": sources.parameters_of("unsloth", "models/llama.py", "FastLlamaModel.get_peft_model")
        | sources.parameters_of("unsloth", "models/vision.py", "FastBaseModel.get_peft_model")
        | frozenset(of_trl["LoraConfig"]),
        "from_pretrained": sources.parameters_of("unsloth", _LOADER, "FastLanguageModel.from_pretrained")
        | sources.parameters_of("unsloth", _LOADER, "FastModel.from_pretrained"),
        "SFTConfig": frozenset(of_trl["SFTConfig"]),
        EXPORT: frozenset({"save_gguf"}),
        "save_pretrained_gguf": sources.parameters_of("unsloth", "save.py", "unsloth_save_pretrained_gguf"),
    }
    return {owner: names - _NO_KEYWORDS.get(owner, frozenset()) for owner, names in found.items()}


def withheld(
    parameters: Parameters, devices: Devices, known: Mapping[str, frozenset[str]], sources: FrameworkSources
) -> dict[str, str]:
    """Arguments that are not to be given as further keywords here, and why.

    Args:
        parameters: What is asked.
        devices: What is here.
        known: What is `accepted`.
        sources: Reads what Unsloth does without on a CPU. Where anything could not be read, nothing is withheld for
            being idle, as another function may take it.
    """
    idle = _idle_on_cpu(known, sources) if devices.kind == "cpu" else frozenset()
    of_no_file = _gguf_alone(known) - {"save_gguf"} if "save_gguf" not in parameters.backend_kwargs else frozenset()
    if sources.unread:
        idle = of_no_file = frozenset()
    return {
        **trl.withheld(devices),
        **dict.fromkeys(
            of_no_file,
            "it says how a GGUF file is made; say which one with save_gguf, for instance save_gguf='q4_k_m'",
        ),
        **dict.fromkeys(idle, "Unsloth does without it on a CPU"),
        **_WITHHELD,
    }


def unknown_gguf(parameters: Parameters, sources: FrameworkSources) -> list[str]:
    """What is wrong with the kinds of GGUF file asked for; Unsloth would say so only after training.

    Args:
        parameters: What is asked.
        sources: Reads which kinds there are; where it cannot, any may be.
    """
    wanted = parameters.backend_kwargs.get("save_gguf") or []
    plain = sources.keys_of("unsloth", "save.py", "ALLOWED_QUANTS")
    with_matrix = sources.keys_of("unsloth", "save.py", "IMATRIX_QUANTS")
    problems: list[str] = []
    if not (plain and with_matrix):
        return problems
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


def own_optimizer(devices: Devices, name: str) -> bool:
    """Whether Unsloth brings an optimizer, or takes PyTorch's AdamW for it, of which the run then warns."""
    return name == "flash_adamw" or (devices.kind == "cpu" and name in _NOT_ON_CPU)


def _idle_on_cpu(known: Mapping[str, frozenset[str]], sources: FrameworkSources) -> frozenset[str]:
    """Arguments that do something on a GPU, and that Unsloth's CPU functions take and drop."""
    loader = "cpu/loader.py"
    taken = (
        sources.parameters_of("unsloth_zoo", loader, "FastCPUModel.from_pretrained")
        | sources.parameters_of("unsloth_zoo", loader, "FastCPUModel.get_peft_model")
        | frozenset(trl.of_lora(sources))
    )
    gguf = sources.parameters_of("unsloth_zoo", loader, "save_pretrained_gguf")
    return (known["from_pretrained"] | known["get_peft_model"]) - taken | (_gguf_alone(known) - gguf)


def _gguf_alone(known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return known["save_pretrained_gguf"] - known["from_pretrained"] - known["get_peft_model"] - known["SFTConfig"]
