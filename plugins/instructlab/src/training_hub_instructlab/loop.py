"""What the hub does at each point of the framework's loop, on every rank: look, tell, obey, save, stop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from instructlab.training.callbacks import TrainingContext
from instructlab.training.sampler import EpochSampler
from torch import distributed

from training_hub.plugin import (
    FrameworkLoop,
    Job,
    Progress,
    RowOrder,
    Stopped,
    router_losses_off,
)
from training_hub_instructlab.rows import Rows

FIGURES = ("step", "epoch", "loss", "learning_rate", "elapsed_time", "overall_throughput", "cuda_mem_allocated")
"""The framework's own figures of a step, beside those of the batch."""
_OTHERWISE = {
    "gpt_oss": "instructlab-training does not train the routers of this model, and saves its experts in 4 bits, MXFP4.",
    "granitemoehybrid": "instructlab-training does not train the routers of this model.",
}
"""What the framework does otherwise than with other models, by their type."""


class Loop(FrameworkLoop):
    """Takes the place of the framework's CallbackManager; each of its calls is made while the loop waits."""

    def __init__(self, job: Job, rows: Rows) -> None:
        super().__init__(job)
        self.context = TrainingContext()
        self.rows = rows
        asked, arguments = job.parameters, job.arguments["TrainingArgs"]
        self.working = Path(arguments["ckpt_output_dir"])
        self.progress = Progress(
            len(rows.lengths),
            asked["effective_batch_size"],
            asked["num_epochs"],
            job.resume_from.step if job.resume_from else 0,
        )
        self.order = RowOrder(self.progress, rows.lengths, self._order)
        self.accelerator: Any = None
        """The framework's, once it is made."""
        self.grad_norm: float | None = None
        """That of the step at hand."""
        self._learning_rate = 0.0
        self._improved = False

    def _order(self, epoch: int) -> list[int]:
        rows = EpochSampler(self.progress.rows, seed=self.job.parameters["seed"], epoch=epoch)
        return list(rows.generate_samples())

    def fire(self, hook: str, **details: Any) -> None:
        """Take one of the framework's calls."""
        if act := getattr(self, hook, None):
            act()

    def close(self) -> None:
        """The framework's loop has been left."""

    def on_train_begin(self) -> None:
        model = self.accelerator.model
        router_losses_off(model.model)
        self.begin(model.model, model.tokenizer, torch.device(torch.cuda.current_device()), self.order)
        if self.main and (said := _OTHERWISE.get(model.model.config.model_type)):
            self.callbacks.events.emit("warning", message=said)

    def on_step_begin(self) -> None:
        self.callbacks.meet()

    def on_pre_optimizer_step(self) -> None:
        self.look(self.context.loss, self.progress.done + 1)
        # The framework reports that of the step to come.
        self._learning_rate = self.accelerator.optimizer.param_groups[0]["lr"]

    def on_optimizer_step(self) -> None:
        self.progress.done += 1

    def on_log(self) -> None:
        figures = {name: getattr(self.context, name) for name in FIGURES} | self.context.batch_metrics
        self.step(
            loss=self.context.loss, learning_rate=self._learning_rate, grad_norm=self.grad_norm, framework=figures
        )

    def on_evaluate(self) -> None:
        # The framework counts the tokens of all ranks once for each rank; the hub knows how many there are.
        figures, done = self.context.val_metrics, self.progress.done
        loss = figures["val_loss"] * figures["val_num_tokens"] / self.rows.validation_tokens
        self.reporter.evaluation(done, epoch=self.epoch, validation_loss=loss)
        self._improved = self.keeper.improved(loss, done)

    def after_step(self, save: Callable[..., None], **given: Any) -> None:
        """Stands in for the framework's `save_checkpoint`, which it calls after every step and every epoch.

        Args:
            save: The framework's own.
            **given: What the framework called it with.

        Raises:
            Stopped: The run was asked to stop.
        """
        # The end of an epoch is that of its last step, which has been here.
        if given.get("epoch") is not None:
            return
        asked, done, ended = self.job.parameters, self.progress.done, self.progress.whole_epochs
        if ended is not None:
            self.reporter.epoch(ended, done)
        orders = self.obey(self.accelerator.optimizer, self.accelerator.lr_scheduler)
        at_epoch = ended is not None and asked["checkpoint_at_epoch"]
        if orders.stop or orders.save or at_epoch or self._improved or self.progress.reaches(asked["save_samples"]):
            # What was asked for while training goes on is there to be resumed from.
            full = orders.stop or orders.save or asked["accelerate_full_state_at_epoch"]
            self._save(save, given, full_state=full)
        self._improved = False
        if orders.stop:
            raise Stopped

    def _save(self, save: Callable[..., None], given: dict[str, Any], *, full_state: bool) -> None:
        """Save a checkpoint of the last step, complete when this returns."""
        done = self.progress.done
        epoch, rest = divmod(done, self.progress.steps_per_epoch)
        # The framework goes on with the next epoch, or after so many steps of this one.
        where = {"epoch": epoch, "global_step": rest} if rest else {"epoch": epoch - 1}
        save(**given | where, full_state=full_state)
        distributed.barrier()
        state = self.working / "full_state" / f"epoch_{where['epoch']}"
        if self.main:
            place = self.adopt(self.working / "hf_format" / f"samples_{given['samples_seen']}")
            if full_state:
                state.rename(place / "full_state")
            self.keeper.complete(done, resumable=full_state, tokens=self.tokens)
        elif os.environ["LOCAL_RANK"] == "0":
            # A further node has only the random numbers of its ranks.
            shutil.rmtree(state, ignore_errors=True)
        distributed.barrier()

    def final_model(self) -> Path | None:
        """What the framework wrote at the end, where nothing else was saved then."""
        return next((self.working / "hf_format").glob("samples_*"), None)
