"""Functions of the older package that have nothing left to do, for those who still call them."""

from __future__ import annotations

from collections.abc import Sequence

from training_hub.callbacks.callback import TrainingHubCallback
from training_hub.compat.deprecation import deprecated
from training_hub.compat.keywords import local_storage


def merge_default_callbacks(
    user_callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None,
    *,
    enable_jit_checkpoint: bool = False,
    ckpt_output_dir: str | None = None,
    backend: str | None = None,
    checkpoint_storage: str | None = None,
) -> list[TrainingHubCallback]:
    """The callbacks as a list. There are no default ones: every run saves on SIGTERM by itself.

    Args:
        user_callbacks: One callback, several, or None.
        enable_jit_checkpoint: As every run does.
        ckpt_output_dir: Not needed.
        backend: Not needed.
        checkpoint_storage: None or `pvc`.

    Raises:
        ParameterError: `checkpoint_storage` is elsewhere.
    """
    deprecated("merge_default_callbacks() adds nothing: give your own callbacks to callbacks=")
    local_storage(checkpoint_storage)
    if user_callbacks is None:
        return []
    return [user_callbacks] if isinstance(user_callbacks, TrainingHubCallback) else list(user_callbacks)


def welcome() -> None:
    """Print a greeting."""
    print("Training Hub is here.")  # noqa: T201
