"""Trains in one of the processes that torchrun starts (`-m training_hub_instructlab.worker JOB`).

It runs the framework's own training script, as its `run_training` would.
"""

from __future__ import annotations

import math
import runpy
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from training_hub.plugin import Job, Outcome, Stopped, run_worker
from training_hub_instructlab.command import command
from training_hub_instructlab.rows import Rows, validation_file
from training_hub_instructlab.rules import MAIN

if TYPE_CHECKING:
    from instructlab.training import TrainingArgs

SCRIPT = "instructlab.training.main_ds"


def train(job: Job) -> Outcome:
    """Train, and say what came of it."""
    from instructlab.training.callbacks import serialize_callbacks_for_cli
    from instructlab.training.utils import check_valid_train_args

    from training_hub_instructlab import workarounds
    from training_hub_instructlab.loop import Loop

    rows = Rows.read(job.data_directory)
    loop = Loop(job, rows)
    arguments = training_arguments(job.arguments["TrainingArgs"], rows)
    check_valid_train_args(arguments)
    workarounds.keep_the_tokenizer_as_it_is(arguments.trust_remote_code)
    workarounds.keep_the_embeddings_as_they_are()
    workarounds.keep_its_trackers_off()
    workarounds.share_out_padded_rows_evenly()
    workarounds.validate_on(validation_file(job.data_directory))
    workarounds.take_part_in(loop)
    # An empty list has the script make a CallbackManager, which is the loop.
    callbacks = serialize_callbacks_for_cli([])
    sys.argv = [SCRIPT, *command(arguments, job.arguments.get(MAIN, {})), f"--callbacks={callbacks}"]
    with workarounds.together(), suppress(Stopped):
        runpy.run_module(SCRIPT, run_name="__main__", alter_sys=True)
    return loop.end(loop.final_model())


def training_arguments(given: Mapping[str, Any], rows: Rows) -> TrainingArgs:
    """The framework's own arguments, complete now that the rows are counted."""
    from instructlab.training import TrainingArgs

    arguments = dict(given)
    if arguments["validation_split"]:
        steps_an_epoch = math.ceil(len(rows.lengths) / arguments["effective_batch_size"])
        arguments.setdefault("validation_frequency", steps_an_epoch)
    return TrainingArgs(**arguments)


if __name__ == "__main__":
    run_worker(train)
