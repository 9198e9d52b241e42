"""What the hub does at each point of mini-trainer's loop, on every rank: save, obey, stop, refuse a broken loss."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mini_trainer import train as framework
from mini_trainer.callbacks import TrainingContext
from mini_trainer.full_state_checkpoint import FullStateCheckpointer
from mini_trainer.sampler import EpochSampler
from torch import distributed

from training_hub.plugin import (
    FrameworkLoop,
    Job,
    Outcome,
    Progress,
    RowOrder,
    Stopped,
    like_base,
    load_tokenizer,
    read_json,
    router_losses_off,
    write_json,
)
from training_hub_minitrainer.layout import state_directory
from training_hub_minitrainer.workarounds import RowsFrom, load_whole_weights, note_rate, use_rates_of


class Loop(FrameworkLoop):
    """Takes the place of mini-trainer's CallbackManager; each of its calls is made while the loop waits."""

    checkpointer: Any
    """The framework's, which says when to save."""
    validation_scheduler: Any
    outcome: Outcome
    """What came of training, once it has ended."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.context = TrainingContext()
        self.lengths: list[int] = []
        """The tokens of each row, on rank 0."""
        self.data_loader: Any = None
        self._given: dict[str, Any] = {}
        self._validation_loss: float | None = None
        self._after_epoch = False
        self._final: Path | None = None
        self._pending = False
        """Whether the weights of this step are saved, but not yet what goes with them."""
        self._with_state = False
        self._saved: set[int] = set()

    def take(self, given: dict[str, Any]) -> None:
        """Take what the framework's loop is given, before it starts."""
        self._given, self.data_loader = given, given["data_loader"]
        router_losses_off(given["model"])
        if resumed := self.job.resume_from:
            state = state_directory(resumed.path, resumed.step)
            if not self.job.arguments["TrainingArgs"]["osft"]:
                load_whole_weights(given["model"], state)
            self.data_loader = RowsFrom(self.data_loader, resumed.step, state, distributed.get_rank())

    def leave(self) -> None:
        """Training has ended; the processes part right after this."""
        self.outcome = self.end(self._final)

    def has_callbacks(self, hook_name: str) -> bool:
        """Whether the framework is to make the calls that it makes for every micro-batch: no."""
        return False

    def fire(self, hook_name: str, **details: Any) -> None:
        """Take one of the framework's calls."""
        vars(self.context).update(details)
        if act := getattr(self, hook_name, None):
            act()

    def on_train_begin(self) -> None:
        given, context, loader = self._given, self.context, self.data_loader
        if resumed := self.job.resume_from:
            use_rates_of(given["lr_scheduler"], given["optimizer"])
            # The framework, too, remembers it, but tells nobody.
            self._validation_loss = resumed.facts.get("validation_loss")
        progress = Progress(len(loader.dataset), loader.batch_size, context.max_epochs, context.step)
        seed = self.job.parameters["seed"]
        self.begin(
            given["model"],
            load_tokenizer(self.job) if self.callbacks.callbacks else None,
            next(given["model"].parameters()).device,
            RowOrder(progress, self.lengths, lambda epoch: list(EpochSampler(progress.rows, seed, epoch))),
            by_epochs=context.training_mode == "epoch",
            max_steps=context.max_steps or None,
        )

    def on_step_begin(self) -> None:
        self.callbacks.meet()

    def on_epoch_begin(self) -> None:
        self._after_epoch = False

    def on_optimizer_step(self) -> None:
        self.progress.done = self.context.step

    def on_log(self) -> None:
        context = self.context
        self.look(context.loss, context.step)
        self.step(
            loss=context.loss,
            learning_rate=context.learning_rate,
            grad_norm=context.grad_norm,
            framework=context.batch_metrics,
        )

    def on_evaluate(self) -> None:
        found = self.context.val_metrics
        self._validation_loss = found.get("val_loss", self._validation_loss)
        self.reporter.evaluation(self.progress.done, epoch=self.epoch, validation_loss=found.get("val_loss"))

    def on_save(self) -> None:
        # The framework does not say why it saves; after the last epoch, it is for the end.
        written = Path(str(self.context.checkpoint_path))
        best = written.name.endswith("best_val_loss")
        if self._after_epoch and not best:
            self._final = written
            return
        if best:
            self.keeper.best, self.keeper.best_step = self._validation_loss, self.progress.done
        self._take(written)
        if self._after_epoch:
            self._complete()

    def on_step_end(self) -> None:
        # An epoch's last step is over once its validation and its checkpoint are.
        if self.progress.whole_epochs is None:
            self._obey()

    def on_epoch_end(self) -> None:
        self._after_epoch = True
        if (ended := self.progress.whole_epochs) is not None:
            self.reporter.epoch(ended, self.progress.done)
        self._obey()

    def _obey(self) -> None:
        """Do what the caller asks for, and complete the checkpoint of this step."""
        context, schedule = self.context, self._given["lr_scheduler"]
        over = context.training_mode == "token" and context.total_tokens >= context.max_tokens
        orders = self.obey(self._given["optimizer"], schedule, over=over)
        if orders.learning_rate is not None:
            note_rate(orders.learning_rate, schedule)
        if orders.save or orders.stop:
            self._save()
        self._complete()
        if orders.stop:
            raise Stopped

    def _save(self) -> None:
        """Save a checkpoint to resume from, whatever there is of this step."""
        self._with_state = True
        if self._pending or self.progress.done in self._saved:
            return
        samples, given = self.context.total_samples, self._given
        framework.save_model(
            given["model"],
            samples,
            given["output_dir"],
            given["model_name_or_path"],
            trust_remote_code=given["trust_remote_code"],
        )
        self._take(Path(given["output_dir"]) / "hf_format" / f"samples_{samples}")

    def _take(self, written: Path) -> None:
        """Take weights of this step; they may be there already, saved for another reason."""
        if self.main and (self._pending or self.progress.done in self._saved):
            shutil.rmtree(written)
        elif self.main:
            self.adopt(written)
        self._pending = True
        self._with_state |= self.job.parameters.get("accelerate_full_state_at_epoch", True)

    def _complete(self) -> None:
        """Save the state that goes with the weights of this step, if there are any, and declare all of it complete."""
        if not self._pending:
            return
        step, full = self.progress.done, self._with_state and self.job.parameters["nnodes"] == 1
        self._pending = self._with_state = False
        # The main process has moved the weights.
        distributed.barrier()
        if full and step not in self._saved:
            self._save_state()
        self._saved.add(step)
        if self.main:
            self.keeper.complete(
                step,
                resumable=full,
                tokens=self.tokens,
                validation_loss=self._validation_loss,
                world_size=distributed.get_world_size(),
            )

    def _save_state(self) -> None:
        given, context, step = self._given, self.context, self.progress.done
        place = state_directory(self.keeper.path(step), step).parent
        writer = FullStateCheckpointer(str(place), distributed.get_rank(), distributed.get_world_size())
        validations = vars(self.validation_scheduler).items()
        writer.save(
            given["model"],
            given["optimizer"],
            given["lr_scheduler"],
            training_state={
                "step": step,
                "epoch": step // self.progress.steps_per_epoch,
                "total_samples_accumulated": context.total_samples,
                "total_tokens_processed": context.total_tokens,
                "last_validation_loss": self._validation_loss,
                "validation_scheduler_state": {name: value for name, value in validations if name.startswith("last_")},
            },
            checkpointer_state={
                name: getattr(self.checkpointer, name)
                for name in ("last_saved_samples", "last_frequency_saved_samples", "best_val_loss")
            },
            data_loader=self.data_loader,
            device=self.device,
        )

    def mend(self, written: Path) -> None:
        """Give back what the framework changed for training, or left out."""
        config = read_json(written / "config.json")
        config["architectures"] = [name.removesuffix("WithOSFT") for name in config.get("architectures") or ()] or None
        write_json(written / "config.json", config)
        if self.base is not None:
            buffers = [name for name, _ in self._given["model"].named_buffers()]
            like_base(written, self.base, buffers, dtype=self.job.arguments["TrainingArgs"].get("save_dtype"))
