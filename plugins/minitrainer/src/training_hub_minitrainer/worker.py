"""One process of a run, under torchrun: `-m training_hub_minitrainer.worker JOB`. It calls mini-trainer's real main."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from training_hub.plugin import (
    Job,
    ModelError,
    Outcome,
    ParameterError,
    base_directory,
    check_weights,
    load_config,
    precisions,
    require_protection,
    run_worker,
    target_layers,
    write_rows,
)
from training_hub_minitrainer.layout import rows_file, state_directory


def train(job: Job) -> Outcome:
    """Train, and say what came of it."""
    from mini_trainer import train as framework

    from training_hub_minitrainer.loop import Loop
    from training_hub_minitrainer.workarounds import (
        keep_the_embeddings_as_they_are,
        save_tied_weights,
        take_part_in,
    )

    asked, given = job.parameters, training_arguments(job)
    if given["use_liger_kernels"]:
        require_liger(asked["model_path"], trust_remote_code=asked["trust_remote_code"])
    if resumed := job.resume_from:
        given["resume_from_full_state_checkpoint"] = str(state_directory(resumed.path, resumed.step))
    require_attention(job)
    loop = Loop(job)
    check_weights(job)
    # The first process of each node writes the rows. The others wait for it where they all meet, in the framework's
    # own start, and read the rows after that.
    if os.environ["LOCAL_RANK"] == "0":
        files = rows_file(asked, "train"), rows_file(asked, "validation")
        loop.lengths, _ = write_rows(job, loop.callbacks.events, *files)
    keep_the_embeddings_as_they_are()
    save_tied_weights()
    take_part_in(loop)
    framework.main(**given)
    return loop.outcome


def training_arguments(job: Job) -> dict[str, Any]:
    """What mini-trainer's main function is called with.

    The names are those of its argument class; four values have another form there. This is for mini-trainer 0.9.x,
    whose own way from the one to the other starts torchrun itself and is no function of its own.
    """
    from mini_trainer import train as framework
    from mini_trainer.training_types import TrainingArgs, TrainingMode

    values = dict(job.arguments["TrainingArgs"])
    if "training_mode" in values:
        values["training_mode"] = TrainingMode(values["training_mode"])
    # A pattern that matches nothing is a mistake also where nothing is decomposed.
    targets = _targets(job) if job.algorithm == "osft" else []
    if values.get("osft"):
        values["osft_target_patterns"] = targets
    values["save_dtype"] = values.get("save_dtype") or _saved_in(job)
    arguments = TrainingArgs(**values)
    given = {field.name: getattr(arguments, field.name) for field in fields(arguments)}
    given["lr_scheduler_kwargs"] = json.dumps(given["lr_scheduler_kwargs"] or {})
    given["osft_target_patterns"] = ",".join(given["osft_target_patterns"] or ()) or None
    for absent in ("callbacks", "pretraining_config"):
        del given[absent]
    if missing := given.keys() - inspect.signature(framework.main).parameters.keys():
        raise TypeError(f"mini-trainer's main does not take {', '.join(sorted(missing))} of its own TrainingArgs")
    return given


def _saved_in(job: Job) -> str | None:
    """What the base's weights are saved in, the widest where they differ; the framework goes by config.json alone.

    Where that says nothing, it would round to bfloat16.
    """
    base = base_directory(job.parameters["model_path"])
    kinds = set(precisions(base).values()) if base else set()
    return kinds.pop() if len(kinds) == 1 else "float32" if kinds else None


def require_liger(model_path: str, *, trust_remote_code: bool) -> None:
    """Refuse a model that Liger has no kernels for: mini-trainer would train it without, and only print that.

    Raises:
        ParameterError: It is one.
    """
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_path, trust_remote_code=trust_remote_code)
    own = {config.model_type, config.get_text_config().model_type}
    if not own & MODEL_TYPE_TO_APPLY_LIGER_FN.keys():
        raise ParameterError(f"use_liger=True: Liger has no kernels for {config.model_type}; leave it out")


def require_attention(job: Job) -> None:
    """Refuse a model that lacks the attention which mini-trainer asks of every model.

    Raises:
        ModelError: It is one.
    """
    from mini_trainer.vlm_utils import needs_sdpa
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = load_config(job)
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    # Of a model with other senses its text is what mini-trainer makes of it; GPT-OSS gets a kernel of its own.
    flash = find_spec("flash_attn") is not None and not needs_sdpa(config)
    if config.get_text_config() is not config or (flash and config.model_type == "gpt_oss"):
        return
    kind, supported = ("flash-attn", "_supports_flash_attn") if flash else ("PyTorch", "_supports_sdpa")
    if isinstance(architecture, type) and not getattr(architecture, supported):
        raise ModelError(
            f"model_path={job.parameters['model_path']}: mini-trainer loads every model with the attention of {kind}, "
            f"which {architecture.__name__} has not; give another backend"
        )


def _targets(job: Job) -> list[str]:
    """The whole names of the weights to decompose, so that no name is taken for a part of another by surprise.

    Raises:
        ParameterError: A pattern matches nothing, or too little would be protected.
    """
    from training_hub_minitrainer.targets import skeleton

    asked = job.parameters
    model = skeleton(asked["model_path"], trust_remote_code=asked["trust_remote_code"])
    found = [f"{name}.weight" for name in target_layers(model, asked["target_patterns"])]
    require_protection(job, model, found)
    return found


if __name__ == "__main__":
    run_worker(train)
