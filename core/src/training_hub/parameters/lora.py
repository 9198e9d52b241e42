"""The parameters of adapters, of quantised base models, and of what is saved by steps: for any algorithm."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval
from typing_extensions import TypedDict

from training_hub.parameters.declaration import Param
from training_hub.parameters.resolution import Contradiction


class Adapter(TypedDict, total=False):
    """Adapter."""

    lora_r: Annotated[int, Ge(1), Param(16, "Rank of the adapter.")]
    lora_alpha: Annotated[float, Gt(0), Param(32, "Scale of the adapter's output: lora_alpha / lora_r.")]
    lora_dropout: Annotated[float, Interval(ge=0, lt=1), Param(0.0, "Dropout on the adapter's input.")]
    target_modules: Annotated[
        list[str] | str | None,
        Param(None, "Names of the layers to adapt, or all-linear; by default all linear layers but the head."),
    ]
    use_rslora: Annotated[bool, Param(False, "Scale by lora_alpha / sqrt(lora_r) (rank-stabilised LoRA).")]
    use_dora: Annotated[bool, Param(False, "Learn magnitude and direction apart (DoRA).")]
    init_lora_weights: Annotated[
        bool | str,
        Param(True, "True starts as the base model; gaussian, pissa, olora, eva, corda, loftq or orthogonal differ."),
    ]
    rank_pattern: Annotated[dict[str, int] | None, Param(None, "Rank by layer name, where it differs from lora_r.")]
    alpha_pattern: Annotated[
        dict[str, float] | None, Param(None, "Alpha by layer name, where it differs from lora_alpha.")
    ]
    loftq_config: Annotated[
        dict[str, Any] | None, Param(None, "LoftQ's settings, with init_lora_weights=loftq: loftq_bits, loftq_iter.")
    ]


class Quantisation(TypedDict, total=False):
    """Quantised base model (QLoRA)."""

    load_in_4bit: Annotated[bool, Param(False, "Hold the base weights in 4 bits (bitsandbytes and a GPU are needed).")]
    load_in_8bit: Annotated[bool, Param(False, "Hold the base weights in 8 bits (bitsandbytes and a GPU are needed).")]
    bnb_4bit_quant_type: Annotated[Literal["nf4", "fp4"], Param("nf4", "Data type of 4-bit weights.")]
    bnb_4bit_compute_dtype: Annotated[
        Literal["bfloat16", "float16", "float32"], Param("bfloat16", "Data type that 4-bit weights are computed in.")
    ]
    bnb_4bit_use_double_quant: Annotated[bool, Param(True, "Quantise the quantisation constants too.")]


class MicroBatches(TypedDict, total=False):
    """Micro-batches and kernels."""

    micro_batch_size: Annotated[int | None, Ge(1), Param(None, "Rows in one forward pass of one process.")]
    gradient_accumulation_steps: Annotated[int | None, Ge(1), Param(None, "Forward passes per optimizer step.")]
    flash_attention: Annotated[
        bool | None, Param(None, "Use the flash-attn package; by default as the backend does without being asked.")
    ]
    sample_packing: Annotated[bool, Param(False, "Put several short rows in one sequence, kept apart by the mask.")]
    bf16: Annotated[bool | None, Param(None, "Compute in bfloat16; by default where the device can.")]
    fp16: Annotated[bool | None, Param(None, "Compute in float16.")]
    tf32: Annotated[bool | None, Param(None, "Allow TensorFloat-32 in float32 products; by default PyTorch's choice.")]


class Saving(TypedDict, total=False):
    """Saving, validating and logging by steps."""

    save_steps: Annotated[int | None, Ge(1), Param(None, "Save a checkpoint every so many steps.")]
    eval_steps: Annotated[int | None, Ge(1), Param(None, "Validate every so many steps.")]
    logging_steps: Annotated[int, Ge(1), Param(1, "Report figures every so many steps.")]
    save_total_limit: Annotated[int | None, Ge(1), Param(None, "Most checkpoints kept, the oldest deleted first.")]
    save_model: Annotated[bool, Param(True, "Save the adapter when training ends.")]
    save_merged_model: Annotated[bool, Param(False, "Also save the base model with the adapter merged in.")]


def _exclusive(first: str, second: str, why: str) -> Contradiction:
    def check(values: Mapping[str, Any]) -> str | None:
        both = values.get(first) and values.get(second)
        return f"{first} and {second} contradict each other: {why}" if both else None

    return check


def _merged_needs_saved(values: Mapping[str, Any]) -> str | None:
    off = next((name for name in ("save_model", "save_final_checkpoint") if not values.get(name, True)), None)
    if not (values.get("save_merged_model") and off):
        return None
    return f"save_merged_model with {off}=False contradict each other: the saved adapter is what is merged"


LORA_CONTRADICTIONS: tuple[Contradiction, ...] = (
    _exclusive("load_in_4bit", "load_in_8bit", "give one of them"),
    _exclusive("bf16", "fp16", "give one of them"),
    _exclusive("eval_data_path", "validation_split", "both say which rows to validate on; give one of them"),
    _merged_needs_saved,
    _exclusive("eval_steps", "validation_frequency", "both say how often to validate; give one of them"),
)
"""What contradicts itself in these groups, for an algorithm that takes them all, and `eval_data_path` besides."""
