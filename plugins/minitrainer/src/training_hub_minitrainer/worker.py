"""One process of a run, under torchrun: `-m training_hub_minitrainer.worker JOB`. It calls mini-trainer's real main."""

from __future__ import annotations

import inspect
import json
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.errors import ModelNotFoundError, ParameterError
from training_hub.store.checkpoints import Checkpoint, complete
from training_hub.store.control import ControlReader
from training_hub.store.directory import RunDirectory, read_json, write_json
from training_hub.store.events import EventLog
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.failure import recorded_failure
from training_hub_minitrainer.layout import state_directory

if TYPE_CHECKING:
    from training_hub_minitrainer.loop import Main


def train(job: dict[str, Any]) -> dict[str, Any] | None:
    """Train and save; in the main process, say what came of it.

    Args:
        job: See `training_hub.execution.session.Run.job`.

    Returns:
        `checkpoint` and `metrics`; None in the other processes.
    """
    from mini_trainer import train as framework

    from training_hub_minitrainer.loop import Loop
    from training_hub_minitrainer.taking_part import take_part_in

    values, directory = job["values"], RunDirectory(Path(job["directory"]))
    given = training_arguments(job)
    if given["use_liger_kernels"]:
        require_liger(values["model_path"], trust_remote_code=values["trust_remote_code"])
    ranks = RankCallbacks(job["on_all_ranks"], directory)
    resumed = complete(Path(job["resume"])) if job["resume"] else None
    if resumed:
        given["resume_from_full_state_checkpoint"] = str(state_directory(resumed.path, resumed.step))
    # The first process of each node writes the rows. The others wait for it where they all meet, in the framework's
    # own start, and read the rows after that.
    lengths = _rows(job, ranks.events) if os.environ["LOCAL_RANK"] == "0" else []
    main = _main(job, directory, ranks.events, lengths, resumed) if os.environ["RANK"] == "0" else None
    loop = Loop(job, resumed, main, ranks)
    take_part_in(loop)
    framework.main(**given)
    if main is None:
        return None
    return {"checkpoint": loop.result, "metrics": main.reporter.final()}


def _main(
    job: dict[str, Any], directory: RunDirectory, events: EventLog, lengths: list[int], resumed: Checkpoint | None
) -> Main:
    from training_hub_minitrainer.checkpoints import Checkpoints
    from training_hub_minitrainer.loop import Main
    from training_hub_minitrainer.reporting import Reporter

    values = job["values"]
    checkpoints = Checkpoints(
        directory,
        values["model_path"],
        keep_last_only=values["keep_last_checkpoint_only"],
        trust_remote_code=values["trust_remote_code"],
        best_step=resumed.facts.get("best_step") if resumed else None,
    )
    return Main(ControlReader(directory), Reporter(job, lengths, events), checkpoints)


def training_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """What mini-trainer's main function is called with.

    The names are those of its argument class; four values have another form there. This is for mini-trainer 0.9.x,
    whose own way from the one to the other starts torchrun itself and is no function of its own.
    """
    from mini_trainer import train as framework
    from mini_trainer.training_types import TrainingArgs, TrainingMode

    values = dict(job["arguments"]["TrainingArgs"])
    if "training_mode" in values:
        values["training_mode"] = TrainingMode(values["training_mode"])
    # A pattern that matches nothing is a mistake also where nothing is decomposed.
    targets = _targets(job) if values.get("osft") or job["values"].get("target_patterns") else []
    if values.get("osft"):
        values["osft_target_patterns"] = targets
    arguments = TrainingArgs(**values)
    given = {field.name: getattr(arguments, field.name) for field in fields(arguments)}
    given["lr_scheduler_kwargs"] = json.dumps(given["lr_scheduler_kwargs"] or {})
    given["osft_target_patterns"] = ",".join(given["osft_target_patterns"] or ()) or None
    for absent in ("callbacks", "pretraining_config"):
        del given[absent]
    if missing := given.keys() - inspect.signature(framework.main).parameters.keys():
        raise TypeError(f"mini-trainer's main does not take {', '.join(sorted(missing))} of its own TrainingArgs")
    return given


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


def _targets(job: dict[str, Any]) -> list[str]:
    """The whole names of the weights to decompose, so that no name is taken for a part of another by surprise."""
    from training_hub.worker.osft_targets import target_layers
    from training_hub_minitrainer.targets import skeleton

    values = job["values"]
    model = skeleton(values["model_path"], trust_remote_code=values["trust_remote_code"])
    return [f"{name}.weight" for name in target_layers(model, values["target_patterns"])]


def _rows(job: dict[str, Any], events: EventLog) -> list[int]:
    from transformers import AutoTokenizer

    from training_hub_minitrainer.rows import write_rows

    values = job["values"]
    try:
        tokenizer = AutoTokenizer.from_pretrained(values["model_path"], trust_remote_code=values["trust_remote_code"])
    except OSError as error:
        raise ModelNotFoundError(f"model_path={values['model_path']}: {error}") from error
    return write_rows(job, tokenizer, events)


def main() -> None:
    job = read_json(Path(sys.argv[1]))
    logs = RunDirectory(Path(job["directory"])).logs
    with recorded_failure(logs):
        outcome = train(job)
        if os.environ["LOCAL_RANK"] == "0":
            # Each node's caller looks for one; the checkpoint is where the first node is.
            write_json(logs / "outcome.json", outcome or {"checkpoint": None, "metrics": {}})


if __name__ == "__main__":
    main()
