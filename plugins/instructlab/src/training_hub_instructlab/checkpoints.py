"""When checkpoints are saved, and how what the framework wrote becomes a directory of the hub's."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import distributed as dist
from transformers import AutoConfig

from training_hub.runs.directory import RunDirectory
from training_hub.runs.events import EventLog
from training_hub_instructlab.steps import Progress


@dataclass
class Checkpoints:
    """Decides on every rank alike; rank 0 moves and deletes."""

    values: dict[str, Any]
    """The hub's parameters."""
    working: Path
    """Where the framework writes."""
    directory: RunDirectory
    events: EventLog
    progress: Progress
    validation_frequency: int | None
    counted_from: int = 0
    """The step from which the framework counts: a run that goes on counts its steps from the start of the epoch."""
    best: float = math.inf
    best_step: int | None = None

    def save(self, save: Callable[..., None], *args: Any, **given: Any) -> None:
        """Stands in for the framework's `save_checkpoint`, which it calls after every step and every epoch."""
        at_epoch_end = given.get("epoch") is not None and given.get("global_step") is None
        on_demand = given.get("global_step") is not None
        improved = False if on_demand or at_epoch_end else self._improved()
        if not (at_epoch_end or on_demand or improved or self._reaches_rows()):
            return
        if on_demand:
            # The framework skips so many steps of this epoch when it goes on.
            given["global_step"] = self.progress.done - given["epoch"] * self.progress.steps_per_epoch
        step = self.progress.done
        target = self.directory.path / f"checkpoint-{step}"
        if target.exists() and not given.get("full_state"):
            return
        save(*args, **given)
        dist.barrier()
        if os.environ["LOCAL_RANK"] == "0":
            self._take_over(target, given)
        dist.barrier()

    def _improved(self) -> bool:
        if not self.values["save_best_val_loss"] or not self.validation_frequency:
            return False
        if (self.progress.done - self.counted_from) % self.validation_frequency:
            return False
        # Every rank is told the same figure, in a thread of the framework's.
        loss = self.progress.validated.get(timeout=600)
        if not loss < self.best - self.values["val_loss_improvement_threshold"]:
            return False
        self.best, self.best_step = loss, self.progress.done
        return True

    def _reaches_rows(self) -> bool:
        every = self.values["save_samples"]
        if not every:
            return False
        before, now = (self.progress.rows_after(steps) for steps in (self.progress.done - 1, self.progress.done))
        return bool(now // every > before // every)

    def _take_over(self, target: Path, given: dict[str, Any]) -> None:
        written = self.working / "hf_format" / f"samples_{given['samples_seen']}"
        if dist.get_rank() == 0:
            if target.exists():
                shutil.rmtree(written)
            else:
                finish(written, self.values)
        state = self.working / "full_state" / f"epoch_{given.get('epoch')}"
        if given.get("full_state") and state.exists():
            place = target if target.exists() else written
            place.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place / "full_state", ignore_errors=True)
            state.rename(place / "full_state")
        if written.exists():
            written.rename(target)
        if dist.get_rank() == 0:
            self.events.emit("save", step=self.progress.done, checkpoint=str(target))
            self._make_room(target)

    def _make_room(self, newest: Path) -> None:
        if not self.values["keep_last_checkpoint_only"]:
            return
        for older in self.directory.path.glob("checkpoint-*"):
            if older != newest and older.name != f"checkpoint-{self.best_step}":
                shutil.rmtree(older)

    def last(self) -> Path | None:
        """The newest checkpoint of this run."""
        found = self.directory.path.glob("checkpoint-*")
        return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def finish_run(self) -> Path | None:
        """On rank 0, after training: put the trained model in `final`, where that is asked for."""
        ended = self.progress.done == self.progress.max_steps
        if not (ended and self.values["save_final_checkpoint"]):
            return self.last()
        written = next((self.working / "hf_format").glob("samples_*"), None)
        newest = self.last()
        if written is not None:
            finish(written, self.values)
            written.rename(self.directory.final)
        elif newest is not None and newest.name == f"checkpoint-{self.progress.done}":
            link(newest, self.directory.final)
        else:
            return newest
        self.events.emit("save", step=self.progress.done, checkpoint=str(self.directory.final))
        return self.directory.final


def finish(directory: Path, values: dict[str, Any]) -> None:
    """Make of the framework's files what transformers' `save_pretrained` would have written.

    The framework saves float32 weights, whatever the base model's were, and leaves out how the model generates.
    """
    base = AutoConfig.from_pretrained(values["model_path"], trust_remote_code=values["trust_remote_code"])
    kind = getattr(base.get_text_config(), "dtype", None) or getattr(base, "dtype", None)
    if isinstance(kind, torch.dtype) and kind != torch.float32:
        for path in directory.glob("*.safetensors"):
            _cast(path, kind)
    _restore_generation(directory, values)


def _cast(path: Path, kind: torch.dtype) -> None:
    with safe_open(path, framework="pt") as weights:
        metadata = weights.metadata()
        cast = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 - no mapping
    cast = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in cast.items()}
    partial = path.with_suffix(".partial")
    save_file(cast, partial, metadata=metadata)
    partial.replace(path)


def _restore_generation(directory: Path, values: dict[str, Any]) -> None:
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_pretrained(values["model_path"]).save_pretrained(directory)
    except OSError:
        return


def link(source: Path, target: Path) -> None:
    """A second directory of the same files, full state left out, without copying where the disk can do that."""
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("full_state"), copy_function=_link)
    partial.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
