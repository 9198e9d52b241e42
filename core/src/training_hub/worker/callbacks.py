"""Callbacks on every rank: in each process that trains, in the thread that trains, at the points where all ranks meet.

Rank 0 has the run's figures. Before each step and at the end it tells the others which events came since they last
met; every rank then calls the same hooks in the same order, and what callbacks ask for, or raise, on any rank becomes
an event, which the caller's process obeys.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.backends.job import Job
from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
from training_hub.callbacks.handler import KINDS, CallbackHandler
from training_hub.callbacks.serialization import deserialized
from training_hub.store.events import EventLog
from training_hub.worker.rank import process_group
from training_hub.worker.texts import broadcast_text, gather_texts

if TYPE_CHECKING:
    import torch


class RankCallbacks:
    """The callbacks of one rank. Where there are none, every call costs nothing."""

    def __init__(self, job: Job) -> None:
        """Make the callbacks: before the model is loaded, for that a class may be missing.

        Args:
            job: The process' job.

        Raises:
            ParameterError: A class cannot be imported here.
        """
        asked, directory = job.rank_callbacks, job.directory
        self.callbacks = [deserialized(callback) for callback in asked["callbacks"]]
        self._heard = _Overheard(directory.events)
        self.events: EventLog = self._heard if self.callbacks else EventLog(directory.events)
        """The run's stream. Who reports on rank 0 writes to this one, or the other ranks hear nothing of it."""
        self.stops: bool = asked["errors"] == "stop"
        self._asking = _Asking()
        self._context = TrainingHubContext(
            output_dir=str(directory.path),
            run_dir=directory.path,
            run_control=self._asking,
            can=frozenset(asked["can"]),
            backend=asked["backend"],
            emit=self.events.emit,
        )
        self._hooks: CallbackHandler | None = None
        self._several = False
        self._device: torch.device | None = None

    def begin(self, model: Any, tokenizer: Any, device: torch.device | None = None) -> None:
        """Training is about to begin; all ranks call this.

        Args:
            model: As the framework trains it, wrapped or sharded.
            tokenizer: The model's.
            device: Where the process group's backend can send tensors from; the CPU by default.
        """
        if not self.callbacks:
            return
        group = process_group()
        rank, count = (group.get_rank(), group.get_world_size()) if group else (0, 1)
        self._several, self._device = count > 1, device
        here = replace(self._context, rank=rank, world_size=count, is_main_process=rank == 0)
        self._hooks = CallbackHandler(self.callbacks, replace(here, model=model, tokenizer=tokenizer), self._failed)

    def meet(self) -> None:
        """Call the hooks of all that rank 0 has told since the last time; all ranks call this at the same points."""
        if self._hooks is None:
            return
        lines = "\n".join(self._heard.taken())
        if self._several:
            lines = broadcast_text(lines, self._device)
        if not lines:
            return
        for line in lines.split("\n"):
            self._hooks.tell(json.loads(line))
        self._share(self._hooks)

    def end(self, metrics: Mapping[str, Any]) -> None:
        """Training has ended, by itself or on request; all ranks call this, while they can still meet.

        Args:
            metrics: The figures of the end, on rank 0.
        """
        if self._hooks is None:
            return
        # The caller tells of the end once the processes are gone.
        self._heard.lines.append(json.dumps({"event": "end", "metrics": dict(metrics)}, default=str))
        self.meet()

    def _failed(self, callback: TrainingHubCallback, hook: str, error: Exception) -> None:
        # The others are called all the same until the ranks have met: a hook may wait for that of another rank.
        self._asking.told.append(
            {
                "event": "callback_error",
                "callback": type(callback).__name__,
                "hook": hook,
                "error": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
        )

    def _share(self, hooks: CallbackHandler) -> None:
        """Let every rank know what callbacks on any rank asked for or raised, and the caller once."""
        mine = self._asking.taken()
        texts = gather_texts(mine, self._device) if self._several else [mine]
        first: dict[str, int] = {}
        for rank, text in enumerate(texts):
            for line in filter(None, text.split("\n")):
                first.setdefault(line, rank)
        for line, rank in first.items():
            fields = json.loads(line)
            kind = fields.pop("event")
            if kind == "callback_error" and self.stops:
                hooks.over = True
            if hooks.context.is_main_process:
                self.events.emit(kind, step=hooks.context.step, rank=rank, **fields)


class _Overheard(EventLog):
    """A stream whose lines are kept until the ranks meet."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines: list[str] = []

    def emit(self, event: str, **fields: Any) -> None:
        super().emit(event, **fields)
        if event in KINDS:
            # The framework's own figures reach no hook.
            fields.pop("framework", None)
            self.lines.append(json.dumps({"event": event, **fields}, default=str))

    def taken(self) -> list[str]:
        found, self.lines = self.lines, []
        return found


class _Asking:
    """Stands in for the caller's `Control`: what is asked of it is told to the caller."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def stop(self, reason: str) -> None:
        self.told.append({"event": "ask", "what": "stop", "reason": reason})

    def save(self) -> None:
        self.told.append({"event": "ask", "what": "save"})

    def set_learning_rate(self, value: float) -> None:
        self.told.append({"event": "ask", "what": "set_learning_rate", "value": value})

    def taken(self) -> str:
        found, self.told = self.told, []
        return "\n".join(json.dumps(entry) for entry in found)
