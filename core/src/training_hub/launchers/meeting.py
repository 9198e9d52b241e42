"""Where the processes of one script tell each other what they do: a store of PyTorch's, which their launcher keeps.

Each call of the script is a meeting of its own, which its number names in every process alike. A process that has come
to one keeps saying that it lives, until it ends, so that nobody waits for one that is gone.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from training_hub.errors import ParameterError, TrainingFailedError
from training_hub.launchers.ranks import Ranks

if TYPE_CHECKING:
    from torch.distributed import Store

PATIENCE = "TRAINING_HUB_JOIN_SECONDS"
"""Variable: how long the first processes wait for the last one, at the script's first call."""
SECONDS = 50.0
BEAT = 3.0
"""Seconds between two signs of life."""
SILENCE = 45.0
"""Seconds without one, after which a process is taken for gone."""
POLL = 0.1


class RankGoneError(TrainingFailedError):
    """A process of the script has ended, or never came."""


class Meeting:
    """One call, as it is made in all processes of a script."""

    def __init__(self, ranks: Ranks, store: Store, number: int, beats: Beats) -> None:
        self.ranks = ranks
        self.number = number
        self._store = store
        self._beats = beats

    def tell(self, name: str, value: Any) -> None:
        """Let the others know something, as JSON.

        Raises:
            RankGoneError: The store is gone, and with it the first process or its launcher.
        """
        try:
            self._store.set(self._key(name), json.dumps(value, default=str))
        except RuntimeError as error:
            raise _gone(self.ranks) from error

    def told(self, name: str) -> Any:
        """What `tell` was given under a name; None where nothing was yet.

        Raises:
            RankGoneError: As above.
        """
        key = self._key(name)
        try:
            return json.loads(self._store.get(key)) if self._store.check([key]) else None
        except RuntimeError as error:
            raise _gone(self.ranks) from error

    def gather(self) -> None:
        """Come to the meeting, and wait for the others; for the first time within a bounded time.

        Raises:
            RankGoneError: One did not come; the message has its rank.
        """
        patience = _patience()
        self.tell(f"came/{self.ranks.rank}", True)
        missing = set(range(self.ranks.world_size))
        until = time.monotonic() + patience
        while missing := {rank for rank in missing if not self.told(f"came/{rank}")}:
            for rank in sorted(missing):
                # One that has been at an earlier call shows whether it lives; of another nothing is known.
                silent = self._beats.silence(rank)
                if time.monotonic() > until if silent is None else silent > SILENCE:
                    raise RankGoneError(
                        f"rank {rank} did not make this call within {max(patience, silent or 0):.0f} seconds: it has "
                        f"ended, or does something else first. {self.ranks.launcher} has started "
                        f"{self.ranks.world_size} processes, and each has to make the same calls; {PATIENCE} is for "
                        f"those that take longer"
                    )
            time.sleep(POLL)

    def check_alive(self, others: Iterable[int]) -> None:
        """Find out whether processes still live.

        Raises:
            RankGoneError: One does not; the message has its rank.
        """
        for rank in others:
            if (silent := self._beats.silence(rank)) is not None and silent > SILENCE:
                raise RankGoneError(f"rank {rank} has ended: nothing was heard of it for {silent:.0f} seconds")

    def _key(self, name: str) -> str:
        return f"call/{self.number}/{name}"


class Beats:
    """Says that this process lives, from a thread of its own, and hears it of the others."""

    def __init__(self, store: Store, rank: int) -> None:
        self._store = store
        self._rank = rank
        self._heard: dict[int, tuple[bytes, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="training-hub-beats", daemon=True)
        self._beat(0)
        self._thread.start()
        # A thread that is in the store while Python takes itself apart may crash it.
        atexit.register(self._end)

    def silence(self, rank: int) -> float | None:
        """Seconds since a process last said that it lives; None where it never did.

        Raises:
            RuntimeError: The store is gone.
        """
        key = f"beat/{rank}"
        if not self._store.check([key]):
            return None
        beat, now = self._store.get(key), time.monotonic()
        before, since = self._heard.get(rank, (b"", now))
        self._heard[rank] = (beat, since if beat == before else now)
        return now - self._heard[rank][1]

    def _beat(self, number: int) -> None:
        self._store.set(f"beat/{self._rank}", str(number))

    def _go_on(self) -> None:
        number = 0
        while not self._ended.wait(BEAT):
            number += 1
            try:
                self._beat(number)
            except RuntimeError:  # the store has ended, and with it the need
                return

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()


_numbers = iter(range(1_000_000_000))


def meeting(ranks: Ranks) -> Meeting:
    """The meeting of this process' next call.

    Raises:
        RankGoneError: The first process, or its launcher, cannot be reached.
        ParameterError: There is no PyTorch here.
    """
    try:
        store, beats = _met(ranks)
    except ImportError as error:
        raise ParameterError(
            f"{ranks.launcher} has started this script in {ranks.world_size} processes, which meet by PyTorch, and it "
            f"cannot be imported here ({error}): install torch, or start the script once with python"
        ) from error
    return Meeting(ranks, store, next(_numbers), beats)


@cache
def _met(ranks: Ranks) -> tuple[Store, Beats]:
    from torch.distributed import PrefixStore

    store = PrefixStore(f"training_hub/{ranks.attempt}", _store(ranks))
    return store, Beats(store, ranks.rank)


def _store(ranks: Ranks) -> Store:
    from torch.distributed import DistError, TCPStore

    def at(*, first: bool) -> TCPStore:
        return TCPStore(
            ranks.address,
            ranks.port,
            is_master=first,
            wait_for_workers=False,
            timeout=timedelta(seconds=_patience()),
        )

    if ranks.rank == 0 and not ranks.hosted:
        try:
            return at(first=True)
        # The script may have one there already, of a process group of its own.
        except DistError:
            return at(first=False)
    try:
        return at(first=False)
    except DistError as error:
        raise _gone(ranks) from error


def _patience() -> float:
    said = os.environ.get(PATIENCE, str(SECONDS))
    try:
        found = float(said)
    except ValueError:
        found = -1.0
    if not 0 < found < float("inf"):
        raise ParameterError(f"{PATIENCE}={said}: give a number of seconds")
    return found


def _gone(ranks: Ranks) -> RankGoneError:
    return RankGoneError(
        f"rank 0, or the {ranks.launcher} that started it, cannot be reached at {ranks.address}:{ranks.port}: it has "
        f"ended, or has never come"
    )


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    from torch.distributed.elastic.utils.distributed import get_free_port

    return int(get_free_port())
