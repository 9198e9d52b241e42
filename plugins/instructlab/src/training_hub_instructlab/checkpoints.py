"""How what the framework wrote becomes a complete checkpoint of the hub's."""

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

from training_hub.store.checkpoints import SEAL, Checkpoint, make_room, newest, place, seal
from training_hub.store.directory import RunDirectory
from training_hub.store.events import EventLog
from training_hub_instructlab.steps import Progress


@dataclass
class Checkpoints:
    """Every rank saves; rank 0 moves, seals and deletes."""

    values: dict[str, Any]
    """The hub's parameters."""
    working: Path
    """Where the framework writes."""
    directory: RunDirectory
    events: EventLog
    progress: Progress
    resumed: Checkpoint | None
    """What the run goes on from."""

    def __post_init__(self) -> None:
        facts = self.resumed.facts if self.resumed else {}
        self.best: float | None = facts.get("best")
        """The best validation loss."""
        self.best_step: int | None = facts.get("best_step")

    def improved(self, loss: float) -> bool:
        """Take a validation loss; whether a checkpoint of the best one is asked for, and this is one."""
        if not self.values["save_best_val_loss"]:
            return False
        best = math.inf if self.best is None else self.best
        if not loss < best - self.values["val_loss_improvement_threshold"]:
            return False
        self.best, self.best_step = loss, self.progress.done
        return True

    def save(self, save: Callable[..., None], given: dict[str, Any], *, full_state: bool) -> None:
        """Save a checkpoint of the last step, complete when this returns.

        Args:
            save: The framework's own `save_checkpoint`.
            given: What the framework called it with.
            full_state: Whether it is to be resumed from.
        """
        epoch, rest = divmod(self.progress.done, self.progress.steps_per_epoch)
        # The framework goes on with the next epoch, or after so many steps of this one.
        where = {"epoch": epoch, "global_step": rest} if rest else {"epoch": epoch - 1}
        save(**given | where, full_state=full_state)
        dist.barrier()
        state = self.working / "full_state" / f"epoch_{where['epoch']}"
        if dist.get_rank() == 0:
            self._take_over(self.working / "hf_format" / f"samples_{given['samples_seen']}", state, full_state)
        elif os.environ["LOCAL_RANK"] == "0":
            # A further node has only the random numbers of its ranks.
            shutil.rmtree(state, ignore_errors=True)
        dist.barrier()

    def _take_over(self, written: Path, state: Path, full_state: bool) -> None:
        step = self.progress.done
        finish(written, self.values)
        if full_state:
            state.rename(written / "full_state")
        target = place(self.directory.path, step)
        # Left by a run that had come further than what it was resumed from.
        if target.exists():
            (target / SEAL).unlink(missing_ok=True)
            shutil.rmtree(target)
        written.rename(target)
        seal(target, step, resumable=full_state, best=self.best, best_step=self.best_step)
        self.events.emit("save", step=step, checkpoint=str(target))
        if self.values["keep_last_checkpoint_only"]:
            make_room(self.directory.path, 1, spared=[self.best_step] if self.best_step is not None else [])

    def finish_run(self) -> Path | None:
        """On rank 0, after training: put the trained model in `final`, where that is asked for; the result's place."""
        last = newest(self.directory.path) or self.resumed
        ended = self.progress.done == self.progress.max_steps
        if not (ended and self.values["save_final_checkpoint"]):
            return last.path if last else None
        written = next((self.working / "hf_format").glob("samples_*"), None)
        if written is not None:
            finish(written, self.values)
            written.rename(self.directory.final)
        elif last is not None and last.step == self.progress.done:
            link(last.path, self.directory.final)
        else:
            return last.path if last else None
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
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("full_state", SEAL), copy_function=_link)
    partial.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
