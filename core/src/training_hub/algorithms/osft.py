"""Orthogonal subspace fine-tuning."""

from typing import Annotated, Any, ClassVar, Required

from annotated_types import Interval
from typing_extensions import TypedDict

from training_hub.algorithms.base import Algorithm
from training_hub.compat.names import attributes_of
from training_hub.parameters.declaration import REQUIRED, Param
from training_hub.parameters.groups import Common
from training_hub.plugins.catalog import RECOMMENDED


class OSFTOptions(TypedDict, total=False):
    """Orthogonal subspace fine-tuning."""

    unfreeze_rank_ratio: Required[
        Annotated[
            float,
            Interval(ge=0, le=1),
            Param(REQUIRED, "Share of each weight's singular directions that may change, such as 0.25."),
        ]
    ]
    target_patterns: Annotated[
        list[str] | None,
        Param(None, "Parts of the names of the weights to decompose; by default all matrices of the layers."),
    ]
    min_protected_share: Annotated[
        float,
        Interval(ge=0, le=1),
        Param(
            0.5, "Least share of the weights of the model's layers that must be protected to begin; 0 asks for none."
        ),
    ]
    use_processed_dataset: Annotated[bool, Param(False, "The rows are tokens already: input_ids and labels.")]
    unmask_messages: Annotated[bool, Param(False, "Train on the turns of every role, not of the assistant alone.")]
    osft_memory_efficient_init: Annotated[
        bool, Param(False, "Decompose the weights with less memory at a time, where the backend can.")
    ]


class OSFTParameters(Common, OSFTOptions, total=False):
    """Parameters of `osft`."""


class OSFTAlgorithm(Algorithm):
    """Orthogonal Subspace Fine-Tuning (arXiv:2504.07097): new knowledge goes where the weights hold the least.

    The top singular directions of each weight are kept; updates stay orthogonal to them.
    """

    name: ClassVar[str] = "osft"
    parameters: ClassVar[type] = OSFTParameters
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-6}
    recommended_backends: ClassVar[tuple[str, ...]] = RECOMMENDED["osft"]
    positional: ClassVar[tuple[str, ...]] = (
        "model_path",
        "data_path",
        "unfreeze_rank_ratio",
        "effective_batch_size",
        "max_tokens_per_gpu",
        "max_seq_len",
        "learning_rate",
        "ckpt_output_dir",
        "data_output_dir",
        "backend",
    )


__getattr__ = attributes_of(__name__)
