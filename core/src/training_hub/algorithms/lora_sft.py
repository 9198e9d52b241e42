"""Supervised fine-tuning through low-rank adapters."""

from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from typing_extensions import TypedDict

from training_hub.algorithms.base import Algorithm
from training_hub.parameters.declaration import Param
from training_hub.parameters.groups import Common, FilePath
from training_hub.parameters.lora import LORA_CONTRADICTIONS, Adapter, MicroBatches, Quantisation, Saving
from training_hub.parameters.resolution import Contradiction
from training_hub.plugins.catalog import RECOMMENDED


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


class LoRASFTAlgorithm(Algorithm):
    """Supervised fine-tuning of low-rank adapters (LoRA, arXiv:2106.09685; QLoRA, arXiv:2305.14314)."""

    name: ClassVar[str] = "lora_sft"
    parameters: ClassVar[type] = LoRAParameters
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 2e-4}
    contradictions: ClassVar[tuple[Contradiction, ...]] = LORA_CONTRADICTIONS
    recommended_backends: ClassVar[tuple[str, ...]] = RECOMMENDED["lora_sft"]
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
