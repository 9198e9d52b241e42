"""What the caller asks of a run while it trains: a small file, which rank 0 reads after each step."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import dataclass
from typing import Any

from training_hub.store.directory import RunDirectory

_HOLD_INTERVAL = 0.01


class Control:
    """The caller's side. Each request is written at once; any thread may ask."""

    def __init__(self, directory: RunDirectory) -> None:
        self.path = directory.control
        self._lock = threading.Lock()
        self._asked: dict[str, Any] = {"stop": None, "saves": 0, "learning_rates": 0, "learning_rate": None}
        self._hold = False

    @property
    def stop_asked(self) -> str | None:
        """The reason for which the run was asked to stop."""
        reason: str | None = self._asked["stop"]
        return reason

    def stop(self, reason: str) -> None:
        """End training after the step at hand, with a checkpoint. The first reason is kept."""
        self._ask(stop=self._asked["stop"] or reason)

    def save(self) -> None:
        """Save a checkpoint after the step at hand."""
        self._ask(saves=self._asked["saves"] + 1)

    def set_learning_rate(self, value: float) -> None:
        """Train with this learning rate from the next step on; the schedule goes on from there in proportion."""
        self._ask(learning_rates=self._asked["learning_rates"] + 1, learning_rate=value)

    def hold(self, wanted: bool) -> None:
        """Let training wait before its next step, while callbacks are too far behind."""
        if wanted != self._hold:
            self._hold = wanted
            self._ask()

    def _ask(self, **changes: Any) -> None:
        with self._lock:
            self._asked |= changes
            partial = self.path.with_name(f".{self.path.name}.{threading.get_ident()}")
            partial.write_text(json.dumps(self._asked | {"hold": self._hold}), encoding="utf-8")
            partial.replace(self.path)


@dataclass(frozen=True)
class Orders:
    """What is to be done after a step, on every rank alike."""

    stop: bool = False
    save: bool = False
    learning_rate: float | None = None

    def __bool__(self) -> bool:
        return self.stop or self.save or self.learning_rate is not None

    def numbers(self) -> list[float]:
        """Three numbers, to be sent from rank 0 to the others."""
        rate = math.nan if self.learning_rate is None else self.learning_rate
        return [float(self.stop), float(self.save), rate]

    @classmethod
    def of(cls, numbers: list[float]) -> Orders:
        """The orders that `numbers` were made of."""
        stop, save, rate = numbers
        return cls(bool(stop), bool(save), None if math.isnan(rate) else rate)


class ControlReader:
    """The workers' side, on rank 0: what was asked for since the last step."""

    def __init__(self, directory: RunDirectory) -> None:
        self.path = directory.control
        self.reason = ""
        """Why the run is to stop."""
        self._seen: tuple[int, int] | None = None
        self._saves = self._rates = 0

    def orders(self) -> Orders:
        """To be called once after each step; waits while the caller's callbacks are too far behind."""
        found = self._news()
        while found and found["hold"] and not found["stop"]:
            time.sleep(_HOLD_INTERVAL)
            found = self._news() or found
        if not found:
            return Orders()
        self.reason = found["stop"] or ""
        save, self._saves = found["saves"] > self._saves, found["saves"]
        rate = found["learning_rate"] if found["learning_rates"] > self._rates else None
        self._rates = found["learning_rates"]
        return Orders(bool(found["stop"]), save, rate)

    def _news(self) -> dict[str, Any] | None:
        """What the file says, where it has changed since it was last read."""
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return None
        if (state.st_ino, state.st_mtime_ns) == self._seen:
            return None
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        self._seen = (state.st_ino, state.st_mtime_ns)
        return found
