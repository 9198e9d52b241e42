"""Which hooks of callbacks an event calls, in the caller's process and on every rank alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
from training_hub.store.events import Event, number, whole

KINDS = frozenset({"start", "step", "eval", "save", "epoch", "end"})
"""Events that call hooks; all others call none."""


class CallbackHandler:
    """Calls the hooks of callbacks, one after the other, as events tell of what happened."""

    def __init__(
        self,
        callbacks: Sequence[TrainingHubCallback],
        context: TrainingHubContext,
        failed: Callable[[TrainingHubCallback, str, Exception], None],
    ) -> None:
        """Args:
        callbacks: Called in this order.
        context: What is known from the start; events add to it.
        failed: Called with a callback that raised, its hook and its error.
        """
        self.callbacks = callbacks
        self.context = context
        self.failed = failed
        self.over = False
        """Whether nothing more is to be called."""
        self._epoch_begun = False

    def tell(self, event: Event) -> None:
        """Call what an event calls."""
        match event["event"]:
            case "start":
                self.context = replace(
                    self.context,
                    step=whole(event, "resumed_from") or 0,
                    max_steps=whole(event, "max_steps"),
                    world_size=whole(event, "world_size") or 1,
                    metrics=_figures(event),
                )
                self._call("on_train_begin")
            case "step":
                self._step(event)
            case "eval":
                self.context = replace(self.context, metrics=_figures(event))
                self._call("on_evaluate")
            case "save":
                saved = Path(str(event["checkpoint"]))
                self.context = replace(self.context, checkpoint=saved, metrics={"checkpoint_path": str(saved)})
                self._call("on_save")
            case "epoch":
                self.context = replace(self.context, epoch=number(event, "epoch") or self.context.epoch, metrics={})
                self._call("on_epoch_end")
                self._epoch_begun = False
            case "end":
                self.context = replace(self.context, metrics=dict(event.get("metrics") or {}))
                self._call("on_train_end")

    def _step(self, event: Event) -> None:
        if not self._epoch_begun:
            self._epoch_begun = True
            self._call("on_epoch_begin")
        self._call("on_step_begin")
        known = {
            name: value for name in ("loss", "learning_rate", "epoch") if (value := number(event, name)) is not None
        }
        self.context = replace(
            self.context,
            step=whole(event, "step") or self.context.step,
            max_steps=whole(event, "max_steps") or self.context.max_steps,
            tokens_seen=whole(event, "tokens") or self.context.tokens_seen,
            metrics=_figures(event),
            **known,  # type: ignore[arg-type]
        )
        self._call("on_step_end")
        if "loss" in event:
            self._call("on_log")

    def _call(self, hook: str) -> None:
        for callback in self.callbacks:
            if self.over:
                return
            try:
                getattr(callback, hook)(self.context)
                self.context.obey_flags()
            except Exception as error:
                self.failed(callback, hook, error)


def _figures(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("event", "time", "framework", "schema")}
