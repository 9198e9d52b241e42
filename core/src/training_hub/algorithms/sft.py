"""Supervised fine-tuning of all weights."""

from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from typing_extensions import TypedDict

from training_hub.algorithms.base import Algorithm
from training_hub.compat.names import attributes_of
from training_hub.parameters.declaration import Param
from training_hub.parameters.groups import Common
from training_hub.plugins.catalog import RECOMMENDED


class FSDPOptions(TypedDict, total=False):
    """How weights are sharded over GPUs (PyTorch's FullyShardedDataParallel)."""

    sharding_strategy: Literal["FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD", "NO_SHARD"]
    cpu_offload_params: bool


class SFTOptions(TypedDict, total=False):
    """Supervised fine-tuning."""

    save_samples: Annotated[int, Ge(0), Param(0, "Save a checkpoint every so many rows; 0 means not by rows.")]
    accelerate_full_state_at_epoch: Annotated[
        bool, Param(True, "With checkpoint_at_epoch, also save optimizer, scheduler and random state, to resume from.")
    ]
    fsdp_options: Annotated[
        FSDPOptions | None, Param(None, "How weights are sharded over GPUs: sharding_strategy, cpu_offload_params.")
    ]


class SFTParameters(Common, SFTOptions, total=False):
    """Parameters of `sft`."""


class SFTAlgorithm(Algorithm):
    """Supervised fine-tuning: every weight learns to continue the rows' prompts as their assistant turns do."""

    name: ClassVar[str] = "sft"
    parameters: ClassVar[type] = SFTParameters
    defaults: ClassVar[dict[str, Any]] = {}
    recommended_backends: ClassVar[tuple[str, ...]] = RECOMMENDED["sft"]
    positional: ClassVar[tuple[str, ...]] = (
        "model_path",
        "data_path",
        "ckpt_output_dir",
        "backend",
        "num_epochs",
        "effective_batch_size",
        "learning_rate",
        "max_seq_len",
        "max_tokens_per_gpu",
        "data_output_dir",
    )


__getattr__ = attributes_of(__name__)
