"""The parameters that algorithms share, each declared once: name, type, bounds, default, help and group.

An algorithm inherits the groups it takes (see `training_hub.algorithms`). The first line of a group's docstring is its
title in help texts and tables. A value of `None` always means "not given".
"""

from collections.abc import Mapping, Sequence
from functools import cache
from os import PathLike
from typing import Annotated, Any, Literal, Required, TypeAlias

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from typing_extensions import TypedDict

from training_hub.callbacks.callback import TrainingHubCallback
from training_hub.parameters.declaration import REQUIRED, Derived, Param, Parameter, declared

FilePath: TypeAlias = Annotated[str | PathLike[str], MinLen(1)]
Scheduler: TypeAlias = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "warmup_stable_decay",
]


class Essentials(TypedDict, total=False):
    """Model, data and output."""

    model_path: Required[
        Annotated[FilePath, Param(REQUIRED, "Directory of the model, or its id on the Hugging Face Hub.")]
    ]
    data_path: Required[Annotated[FilePath, Param(REQUIRED, "Training rows: a JSONL, JSON or Parquet file.")]]
    ckpt_output_dir: Required[
        Annotated[FilePath, Param(REQUIRED, "Directory of the run: checkpoints, events, logs, manifest.")]
    ]
    backend: Annotated[
        str | None, Param(None, "Backend to train with; by default the first recommended one that is available here.")
    ]
    overwrite_output_dir: Annotated[
        bool, Param(False, "Replace the run that ckpt_output_dir holds; without this it is refused.")
    ]
    data_output_dir: Annotated[
        FilePath | None, Param(None, "Directory for processed data; by default `data` inside ckpt_output_dir.")
    ]
    trust_remote_code: Annotated[bool, Param(False, "Run Python code that comes with the model. Only if you trust it.")]
    seed: Annotated[int, Ge(0), Lt(2**32), Param(42, "Seed of data order, validation split and weight initialisation.")]


class Schedule(TypedDict, total=False):
    """Batches, length and learning rate."""

    num_epochs: Annotated[int, Ge(1), Param(3, "Passes over the training rows.")]
    effective_batch_size: Annotated[
        int, Ge(1), Param(16, "Rows per optimizer step, over all processes and micro-batches; exact.")
    ]
    max_seq_len: Annotated[int, Ge(1), Param(2048, "Longest row in tokens; longer rows are left out, with a warning.")]
    max_tokens_per_gpu: Annotated[
        int,
        Ge(1),
        Param(
            Derived("the greater of 8192 and max_seq_len", lambda values: max(8192, values["max_seq_len"])),
            "Most tokens in one micro-batch of one process; bounds memory, never changes the result.",
        ),
    ]
    learning_rate: Annotated[float, Gt(0), Le(1), Param(2e-5, "Peak learning rate.")]
    lr_scheduler: Annotated[Scheduler, Param("cosine", "Shape of the learning rate after warmup.")]
    lr_scheduler_kwargs: Annotated[
        dict[str, Any] | None, Param(None, "Further arguments of the scheduler, such as num_cycles.")
    ]
    warmup_steps: Annotated[int, Ge(0), Param(0, "Optimizer steps over which the learning rate rises from 0.")]


class Optimizer(TypedDict, total=False):
    """AdamW optimizer."""

    beta1: Annotated[float, Interval(ge=0, lt=1), Param(0.9, "Decay of the first moment.")]
    beta2: Annotated[float, Interval(ge=0, lt=1), Param(0.95, "Decay of the second moment.")]
    eps: Annotated[float, Gt(0), Param(1e-8, "Term added to the denominator.")]
    weight_decay: Annotated[float, Ge(0), Param(0.0, "Decoupled weight decay.")]
    max_grad_norm: Annotated[float, Ge(0), Param(1.0, "Gradients are scaled down to this global norm; 0 means never.")]


class Execution(TypedDict, total=False):
    """Kernels."""

    use_liger: Annotated[bool, Param(False, "Use Liger's fused kernels (a GPU and liger-kernel are needed).")]


class Checkpoints(TypedDict, total=False):
    """Checkpoints."""

    checkpoint_at_epoch: Annotated[bool, Param(False, "Save a checkpoint at the end of each epoch.")]
    save_final_checkpoint: Annotated[bool, Param(True, "Save the model when training ends.")]
    keep_last_checkpoint_only: Annotated[bool, Param(False, "Delete a checkpoint once a newer one is complete.")]


class Validation(TypedDict, total=False):
    """Validation."""

    validation_split: Annotated[
        float, Interval(ge=0, lt=1), Param(0.0, "Share of the rows held out to validate on; 0 means none.")
    ]
    validation_frequency: Annotated[
        int | None, Ge(1), Param(None, "Validate every so many steps; by default once an epoch.")
    ]
    save_best_val_loss: Annotated[bool, Param(False, "Keep a checkpoint of the lowest validation loss.")]
    val_loss_improvement_threshold: Annotated[
        float, Ge(0), Param(0.0, "Least fall of the validation loss that counts as an improvement.")
    ]


class Pretraining(TypedDict, total=False):
    """Continued pretraining."""

    is_pretraining: Annotated[bool, Param(False, "Train on every token of documents instead of on conversations.")]
    block_size: Annotated[int | None, Ge(2), Param(None, "Tokens in a block of documents; needed with is_pretraining.")]
    document_column_name: Annotated[
        str | None, Param(None, "Key of a document in a row; by default text, or document.")
    ]


class Torchrun(TypedDict, total=False):
    """Processes (torchrun)."""

    nproc_per_node: Annotated[
        Annotated[int, Ge(1)] | Literal["auto", "gpu"],
        Param(1, "Processes on each node; gpu means one for each GPU, auto the same or one process without GPUs."),
    ]
    nnodes: Annotated[int, Ge(1), Param(1, "Nodes of the run.")]
    node_rank: Annotated[int, Ge(0), Param(0, "Rank of this node, from 0.")]
    rdzv_id: Annotated[str | int | None, Param(None, "Id of the rendezvous, the same on every node.")]
    rdzv_endpoint: Annotated[str | None, Param(None, "HOST:PORT where the nodes meet.")]
    master_addr: Annotated[str | None, Param(None, "Address of the node of rank 0, where rdzv_endpoint is not given.")]
    master_port: Annotated[
        int | None,
        Interval(ge=1, le=65535),
        Param(None, "Port on the node of rank 0, where rdzv_endpoint is not given."),
    ]


class Callbacks(TypedDict, total=False):
    """Callbacks."""

    callbacks: Annotated[
        Sequence[TrainingHubCallback] | TrainingHubCallback | None,
        Param(
            None,
            "Objects whose methods are called as training goes on: in the caller's process, or on every rank where "
            "their class asks for that.",
        ),
    ]
    callback_errors: Annotated[
        Literal["stop", "warn"],
        Param("stop", "What a callback that raises does: stop the run with a checkpoint, or warn and go on."),
    ]


class Continuity(TypedDict, total=False):
    """Interruption and resumption."""

    resume: Annotated[
        bool | FilePath,
        Param(
            False,
            "Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it holds no "
            "run), or from a run or checkpoint elsewhere (its directory).",
        ),
    ]
    resume_changes: Annotated[
        list[str] | None,
        Param(
            None,
            "With resume: what may differ from the run resumed, by name: parameters, or data, model, versions; any "
            "other difference is refused.",
        ),
    ]
    on_nan: Annotated[
        Literal["stop", "warn"], Param("stop", "What a loss that is NaN or infinite does: stop the run, or warn.")
    ]
    grace_seconds: Annotated[
        float,
        Gt(0),
        Param(
            300.0,
            "How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its processes are ended.",
        ),
    ]
    hang_seconds: Annotated[
        float | None,
        Gt(0),
        Param(None, "End a run from whose processes no event has come for so long once they train; None waits."),
    ]


class Common(
    Essentials,
    Schedule,
    Optimizer,
    Execution,
    Checkpoints,
    Validation,
    Pretraining,
    Torchrun,
    Callbacks,
    Continuity,
    total=False,
):
    """Parameters of every fine-tuning algorithm."""


CALLERS_ALONE = frozenset({"callbacks"})
"""Objects of the caller's, which no other process can be given."""


@cache
def _common() -> dict[str, Parameter]:
    return declared(Common, {})


def default_of(name: str, values: Mapping[str, Any]) -> Any:
    """What the hub goes by where an algorithm does not take one of the shared parameters: its default.

    Args:
        name: The parameter.
        values: The others, for a default that follows from them.

    Raises:
        KeyError: It is none of the shared parameters, or has no default.
    """
    found = _common()[name].default
    if found is REQUIRED:
        raise KeyError(name)
    return found.compute(values) if isinstance(found, Derived) else found
