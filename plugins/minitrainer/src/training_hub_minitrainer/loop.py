"""What the hub does at each point of mini-trainer's loop, on every rank: save, obey, stop, refuse a broken loss."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mini_trainer.callbacks import TrainingContext

from training_hub.store.checkpoints import Checkpoint, newest, place
from training_hub.store.control import ControlReader, Orders
from training_hub.store.directory import RunDirectory
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.control import orders_on_every_rank, set_learning_rate
from training_hub.worker.finite import check_finite
from training_hub_minitrainer.checkpoints import Checkpoints
from training_hub_minitrainer.layout import state_directory
from training_hub_minitrainer.reporting import Reporter, order_of_rows
from training_hub_minitrainer.workarounds import RowsFrom, load_whole_weights, note_rate, use_rates_of


class Stopped(BaseException):
    """Ends the framework's loop before its last step. No error, so that nobody takes it for one."""


@dataclass(frozen=True)
class Main:
    """What the main process has besides: the caller's requests, events, and checkpoints."""

    control_reader: ControlReader
    reporter: Reporter
    checkpoints: Checkpoints


class Loop:
    """Takes the place of mini-trainer's CallbackManager; each of its calls is made while the loop waits."""

    def __init__(
        self, job: dict[str, Any], resumed: Checkpoint | None, main: Main | None, ranks: RankCallbacks
    ) -> None:
        """Args:
        job: See `training_hub.execution.session.Run.job`.
        resumed: The checkpoint to go on from.
        main: In the main process.
        ranks: The callbacks that run on all ranks.
        """
        self.context = TrainingContext()
        self.values: dict[str, Any] = job["values"]
        self.directory = RunDirectory(Path(job["directory"]))
        self.resumed = resumed
        self.main = main
        self.ranks = ranks
        self.decomposes: bool = job["arguments"]["TrainingArgs"]["osft"]
        self.one_node = self.values["nnodes"] == 1
        self.stopped_at: int | None = None
        """The step after which training was ended on request."""
        self.result: Path | None = None
        """In the main process, once training has ended: the checkpoint to hand to the user."""
        self.checkpointer: Any = None
        self.validation_scheduler: Any = None
        self.data_loader: Any = None
        self._given: dict[str, Any] = {}
        self._validation_loss: float | None = None
        self._after_epoch = False
        self._waiting = Orders()
        self._pending: int | None = None
        """The step whose weights are saved already, but not yet what goes with them."""
        self._with_state = False
        self._saved: set[int] = set()

    def begin(self, given: dict[str, Any]) -> None:
        """Take what the framework's loop is given, before it starts."""
        self._given = given
        self.data_loader = given["data_loader"]
        if self.resumed is None:
            return
        state = state_directory(self.resumed.path, self.resumed.step)
        if not self.decomposes:
            load_whole_weights(given["model"], state)
        self.data_loader = RowsFrom(self.data_loader, self.resumed.step, state, dist.get_rank())

    def end(self) -> None:
        """Finish, while the processes can still meet."""
        if self.main:
            self.result = self._result(self.main)
        self.ranks.end(self.main.reporter.final() if self.main else {})

    def _result(self, main: Main) -> Path | None:
        if self.stopped_at is not None or not self.values["save_final_checkpoint"]:
            return main.checkpoints.last()
        # The framework saves none where it has just saved the same weights, or where no step was left.
        if not self.directory.final.exists():
            last = newest(self.directory.path) or self.resumed
            assert last is not None
            main.checkpoints.link_final(last.path)
            main.reporter.saved(last.step, self.directory.final)
        return self.directory.final

    def has_callbacks(self, hook_name: str) -> bool:
        """Whether the framework is to make the calls that it makes for every micro-batch: no."""
        return False

    def fire(self, hook_name: str, **details: Any) -> None:
        """Take one of the framework's calls."""
        method = getattr(self, f"_{hook_name}", None)
        if method is not None:
            context = copy.copy(self.context)
            for name, value in details.items():
                setattr(context, name, value)
            method(context)

    def _on_train_begin(self, context: TrainingContext) -> None:
        if self.resumed is not None:
            use_rates_of(self._given["lr_scheduler"], self._given["optimizer"])
            # The framework, too, remembers it, but tells nobody.
            self._validation_loss = self.resumed.facts.get("validation_loss")
        if self.main:
            self.main.reporter.began_at(context, self.resumed)
        if self.ranks.callbacks:
            self.ranks.begin(self._given["model"], self._tokenizer(), self._device)
            self.ranks.meet()

    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        trusted = self.values["trust_remote_code"]
        return AutoTokenizer.from_pretrained(self.values["model_path"], trust_remote_code=trusted)

    def _on_step_begin(self, context: TrainingContext) -> None:
        self.ranks.meet()

    def _on_epoch_begin(self, context: TrainingContext) -> None:
        self._after_epoch = False

    def _on_log(self, context: TrainingContext) -> None:
        if not math.isfinite(context.loss):
            self._not_finite(context)
        if self.main:
            self.main.reporter.step(context)

    def _not_finite(self, context: TrainingContext) -> None:
        """Say which step it was and which rows it saw; end the run, unless only a warning is asked for."""
        loader, step = self.data_loader, context.step
        epoch, index = divmod(step - 1, len(loader))
        order = order_of_rows(len(loader.dataset), self.values["seed"], epoch)
        seen = order[index * loader.batch_size : (index + 1) * loader.batch_size]
        warning = check_finite(context.loss, step, seen, self.values["on_nan"])
        if self.main:
            self.main.reporter.events.emit("warning", step=step, message=warning)

    def _on_evaluate(self, context: TrainingContext) -> None:
        self._validation_loss = context.val_metrics.get("val_loss", self._validation_loss)
        if self.main:
            self.main.reporter.evaluation(context)

    def _on_save(self, context: TrainingContext) -> None:
        # The framework does not say why it saves; after the last epoch, it is for the end.
        written = Path(str(context.checkpoint_path))
        best = written.name.endswith("best_val_loss")
        if self._after_epoch and not best:
            if self.main:
                self.main.checkpoints.take_final(written)
                self.main.reporter.saved(context.step, self.directory.final)
            return
        self._take(written, context.step, best=best)
        if self._after_epoch:
            self._complete(context)

    def _on_step_end(self, context: TrainingContext) -> None:
        self._waiting = orders_on_every_rank(self.main.control_reader if self.main else None, self._device)
        # An epoch's last step is over once its validation and its checkpoint are.
        if self._ends_epoch(context):
            return
        self._obey(context)

    def _on_epoch_end(self, context: TrainingContext) -> None:
        self._after_epoch = True
        if self.main and self._ends_epoch(context):
            self.main.reporter.epoch(context.step)
        self._obey(context)

    def _ends_epoch(self, context: TrainingContext) -> bool:
        return bool(context.step % len(self.data_loader) == 0)

    def _obey(self, context: TrainingContext) -> None:
        """Do what the caller has asked for, and complete the checkpoint of this step."""
        orders, self._waiting = self._waiting, Orders()
        stop = orders.stop and not self._over(context)
        if orders.learning_rate is not None:
            schedule = self._given["lr_scheduler"]
            set_learning_rate(orders.learning_rate, self._given["optimizer"], schedule)
            note_rate(orders.learning_rate, schedule)
        if orders.save or stop:
            self._save(context)
        self._complete(context)
        if stop:
            self.stopped_at = context.step
            if self.main:
                self.main.reporter.events.emit("stop", step=context.step, reason=self.main.control_reader.reason)
            raise Stopped

    def _over(self, context: TrainingContext) -> bool:
        """Whether there is nothing left to stop."""
        match context.training_mode:
            case "epoch":
                return bool(context.step >= len(self.data_loader) * context.max_epochs)
            case "step":
                return bool(context.step >= context.max_steps)
            case "token":
                return bool(context.total_tokens >= context.max_tokens)
        return False

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self._given["model"].parameters()).device
        return device

    def _save(self, context: TrainingContext) -> None:
        """Save a checkpoint to resume from, whatever there is of this step."""
        self._with_state = True
        if self._pending == context.step or context.step in self._saved:
            return
        from mini_trainer.train import save_model

        samples, given = context.total_samples, self._given
        save_model(
            given["model"],
            samples,
            given["output_dir"],
            given["model_name_or_path"],
            trust_remote_code=given["trust_remote_code"],
        )
        self._take(Path(given["output_dir"]) / "hf_format" / f"samples_{samples}", context.step, best=False)

    def _take(self, written: Path, step: int, *, best: bool) -> None:
        if self.main:
            self.main.checkpoints.take(written, step, best=best, again=self._pending == step or step in self._saved)
        self._pending = step
        self._with_state |= self.values.get("accelerate_full_state_at_epoch", True)

    def _complete(self, context: TrainingContext) -> None:
        """Save the state that goes with the weights of this step, if there are any, and declare all of it complete."""
        if self._pending is None:
            return
        step, self._pending = self._pending, None
        full, self._with_state = self._with_state and self.one_node, False
        # The main process has moved the weights.
        dist.barrier()
        if full and step not in self._saved:
            self._save_state(context)
        self._saved.add(step)
        if self.main:
            facts = {
                "tokens": self.main.reporter.tokens,
                "validation_loss": self._validation_loss,
                "world_size": dist.get_world_size(),
            }
            found = self.main.checkpoints.complete(step, resumable=full, **facts)
            self.main.reporter.saved(step, found)

    def _save_state(self, context: TrainingContext) -> None:
        from mini_trainer.full_state_checkpoint import FullStateCheckpointer

        given, step, length = self._given, context.step, len(self.data_loader)
        directory = state_directory(place(self.directory.path, step), step)
        writer = FullStateCheckpointer(str(directory.parent), dist.get_rank(), dist.get_world_size())
        saves, validations = self.checkpointer, self.validation_scheduler
        writer.save(
            given["model"],
            given["optimizer"],
            given["lr_scheduler"],
            training_state={
                "step": step,
                "epoch": step // length,
                "total_samples_accumulated": context.total_samples,
                "total_tokens_processed": context.total_tokens,
                "last_validation_loss": self._validation_loss,
                "validation_scheduler_state": {
                    name: value for name, value in vars(validations).items() if name.startswith("last_")
                },
            },
            checkpointer_state={
                name: getattr(saves, name)
                for name in ("last_saved_samples", "last_frequency_saved_samples", "best_val_loss")
            },
            data_loader=self.data_loader,
            device=self._device,
        )
