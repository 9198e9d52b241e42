"""Supervised fine-tuning through low-rank adapters."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval
from typing_extensions import TypedDict, Unpack

from training_hub.algorithms.algorithm import Algorithm
from training_hub.algorithms.function import described_by, run
from training_hub.parameters.declaration import Param
from training_hub.parameters.groups import Common, FilePath
from training_hub.parameters.resolution import Contradiction
from training_hub.runs.result import TrainingResult


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


class Rows(TypedDict, total=False):
    """Rows."""

    eval_data_path: Annotated[FilePath | None, Param(None, "Rows to validate on, instead of validation_split.")]
    per_device_eval_batch_size: Annotated[
        int | None, Ge(1), Param(None, "Rows in one validation pass; by default as in training.")
    ]
    dataset_type: Annotated[
        Literal["chat_template", "messages", "sharegpt", "alpaca", "prompt_completion", "passthrough"] | None,
        Param(None, "Format of the rows; by default told from their keys."),
    ]
    field_messages: Annotated[str | None, Param(None, "Key of the conversation; by default messages.")]
    field_instruction: Annotated[str | None, Param(None, "Key of the instruction; by default instruction.")]
    field_input: Annotated[str | None, Param(None, "Key of the instruction's input; by default input.")]
    field_output: Annotated[str | None, Param(None, "Key of the answer; by default output.")]


class Parts(TypedDict, total=False):
    """Parts of the model."""

    enable_model_splitting: Annotated[bool, Param(False, "Spread one model over the GPUs of one process.")]
    finetune_vision_layers: Annotated[bool, Param(False, "Adapt the vision layers of a vision-language model.")]
    finetune_language_layers: Annotated[bool, Param(True, "Adapt the language layers.")]


class LoRAParameters(Common, Adapter, Quantisation, MicroBatches, Saving, Rows, Parts, total=False):
    """Parameters of `lora_sft`."""


def _exclusive(first: str, second: str, why: str) -> Contradiction:
    def check(values: Mapping[str, Any]) -> str | None:
        return f"{first} and {second} contradict each other: {why}" if values[first] and values[second] else None

    return check


def _merged_needs_saved(values: Mapping[str, Any]) -> str | None:
    off = next((name for name in ("save_model", "save_final_checkpoint") if not values[name]), None)
    if not (values["save_merged_model"] and off):
        return None
    return f"save_merged_model with {off}=False contradict each other: the saved adapter is what is merged"


class LoRASFTAlgorithm(Algorithm):
    """Supervised fine-tuning of low-rank adapters (LoRA, arXiv:2106.09685; QLoRA, arXiv:2305.14314)."""

    name: ClassVar[str] = "lora_sft"
    parameters: ClassVar[type] = LoRAParameters
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 2e-4}
    contradictions: ClassVar[tuple[Contradiction, ...]] = (
        _exclusive("load_in_4bit", "load_in_8bit", "give one of them"),
        _exclusive("bf16", "fp16", "give one of them"),
        _exclusive("eval_data_path", "validation_split", "both say which rows to validate on; give one of them"),
        _merged_needs_saved,
        _exclusive("eval_steps", "validation_frequency", "both say how often to validate; give one of them"),
    )
    recommended_backends: ClassVar[tuple[str, ...]] = ("unsloth", "trl")
    positional: ClassVar[tuple[str, ...]] = (
        "model_path",
        "data_path",
        "ckpt_output_dir",
        "backend",
        "lora_r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "num_epochs",
        "effective_batch_size",
    )


@described_by(LoRASFTAlgorithm)
def lora_sft(*args: Any, **parameters: Unpack[LoRAParameters]) -> TrainingResult:
    result: TrainingResult = run(LoRASFTAlgorithm, args, parameters)
    return result
