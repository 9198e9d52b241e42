"""The model that the trained one is held to."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import AutoConfig

from training_hub.plugin import Job, ModelError, ModelNotFoundError, load_config
from training_hub_trl.models import load_base


def check_reference(job: Job) -> None:
    """Look at the configuration of `reference_model`, before anything else is spent.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ModelError: It has other tokens than the model.
    """
    values, path = job.parameters, _given(job)
    trust = values["trust_remote_code"]
    if path is None:
        return
    try:
        found = AutoConfig.from_pretrained(path, trust_remote_code=trust)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"reference_model={path}: {error}") from error
    own = load_config(job)
    sizes = [config.get_text_config().vocab_size for config in (found, own)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"reference_model={path}: it knows {sizes[0]} tokens, and model_path={values['model_path']} {sizes[1]}; "
            f"both must have the same tokenizer"
        )


def load_reference(job: Job, model: Any) -> Any:
    """The reference; None where it is the trained model without its adapter.

    Args:
        job: The job.
        model: The model that is trained, as it was loaded.

    Raises:
        ModelNotFoundError: `reference_model` cannot be loaded.
    """
    if (path := _given(job)) is not None:
        return load_base(job, path)
    return None if job.parameters["use_lora"] else deepcopy(model)


def _given(job: Job) -> str | None:
    """The directory or id of the reference, where one is given."""
    found: str | None = job.arguments.get("DPOTrainer", {}).get("ref_model")
    return found
