"""Trains in one of the processes that torchrun starts (`-m training_hub_instructlab.worker JOB`).

It runs the framework's own training script, as its `run_training` would.
"""

from __future__ import annotations

import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.store.checkpoints import complete
from training_hub.store.control import ControlReader
from training_hub.store.directory import RunDirectory, read_json, write_json
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.failure import recorded_failure
from training_hub_instructlab.command import command
from training_hub_instructlab.rows import Rows
from training_hub_instructlab.rules import MAIN
from training_hub_instructlab.steps import Progress

if TYPE_CHECKING:
    from instructlab.training import TrainingArgs

SCRIPT = "instructlab.training.main_ds"


def train(job: dict[str, Any]) -> None:
    """Train, and leave on rank 0 what came of it.

    Args:
        job: See `training_hub.execution.session.Run.job`.
    """
    import torch
    from instructlab.training.callbacks import serialize_callbacks_for_cli
    from instructlab.training.utils import check_valid_train_args

    from training_hub_instructlab import reporting, workarounds
    from training_hub_instructlab.after_step import AfterStep, Stopped
    from training_hub_instructlab.checkpoints import Checkpoints

    values = job["values"]
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    directory = RunDirectory(Path(job["directory"]))
    ranks = RankCallbacks(job["on_all_ranks"], directory)
    rows = Rows.read(Path(job["data_directory"]))
    arguments = training_arguments(job, rows)
    check_valid_train_args(arguments)

    resumed = complete(Path(job["resume"])) if job["resume"] else None
    progress = Progress(len(rows.lengths), arguments.effective_batch_size, arguments.num_epochs)
    progress.done = resumed.step if resumed else 0
    reporter = reporting.Reporter(
        ranks.events, progress, rows, values, rank == 0, world_size, resumed_from=resumed.step if resumed else None
    )
    reporting.use(reporter)
    checkpoints = Checkpoints(values, Path(arguments.ckpt_output_dir), directory, ranks.events, progress, resumed)
    act = AfterStep(
        values,
        progress,
        reporter,
        checkpoints,
        ControlReader(directory),
        arguments.validation_frequency if rows.validation else None,
        counted_from=progress.done - progress.done % progress.steps_per_epoch,
    )

    def begin(model: Any) -> None:
        reporter.train_begin()
        ranks.begin(model.model, model.tokenizer, torch.device(torch.cuda.current_device()))
        ranks.meet()

    workarounds.keep_the_tokenizer_as_it_is(arguments.trust_remote_code)
    workarounds.keep_its_trackers_off()
    workarounds.share_out_padded_rows_evenly()
    workarounds.observe_steps(progress)
    workarounds.see_each_loss(reporter.check)
    workarounds.act_after_each_step(act)
    workarounds.act_before_steps(begin, ranks.meet)
    part = workarounds.stay_together()

    script = job["arguments"].get(MAIN, {})
    callbacks = serialize_callbacks_for_cli([reporting.HubCallback()])
    sys.argv = [SCRIPT, *command(arguments, script), f"--callbacks={callbacks}"]
    with suppress(Stopped):
        runpy.run_module(SCRIPT, run_name="__main__", alter_sys=True)
    if rank == 0:
        checkpoint = checkpoints.finish_run()
        write_json(directory.logs / "outcome.json", {"checkpoint": checkpoint, "metrics": reporter.final()})
    ranks.end(reporter.final())
    part()


def training_arguments(job: dict[str, Any], rows: Rows) -> TrainingArgs:
    """The framework's own arguments, complete now that the rows are counted."""
    from instructlab.training import TrainingArgs

    given = dict(job["arguments"]["TrainingArgs"])
    if rows.validation:
        given["validation_split"] = rows.split
        given.setdefault("validation_frequency", rows.steps(given["effective_batch_size"]))
    return TrainingArgs(**given)


def main() -> None:
    job = read_json(Path(sys.argv[1]))
    with recorded_failure(RunDirectory(Path(job["directory"])).logs):
        train(job)


if __name__ == "__main__":
    main()
