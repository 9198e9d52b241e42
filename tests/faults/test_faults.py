"""What else may happen to a run: it says so, and goes on to the end that it would have had."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cells import Cell, here
from faulty import Fault, Found, Started, Steady

from training_hub.reading.history import fold
from training_hub.runs.events import read_events
from training_hub.testing.killer import ranks

Tried = Callable[[Cell], Any]
LONG = {"num_epochs": 2000}
"""For runs that are to be stopped: they end by themselves only much later."""

pytestmark = pytest.mark.faults
of_each_backend = pytest.mark.parametrize("cell", here(algorithm="sft"), ids=str)
of_two_processes = pytest.mark.parametrize("cell", here(algorithm="sft", processes=2), ids=str)


class Struck:
    """A run of a cell, and what is needed to strike it."""

    def __init__(self, steady: Callable[..., Steady], job: dict[str, Any], chance: random.Random, place: Path) -> None:
        self.steady = steady
        self.job = job
        self.chance = chance
        self.place = place
        self.found = Found(place / "out")

    def start(self, cell: Cell, *, spoil: bool = False, **changes: Any) -> Started:
        asked = self.job | {"ckpt_output_dir": self.found.out} | changes
        return Started(cell, asked, self.place, spoil=spoil)

    def start_until(self, cell: Cell) -> Started:
        """A run that has come to a random step."""
        run, step = self.start(cell), self.chance.randint(1, 30)
        assert run.wait_for(lambda: run.has_told("step", step=step)), run.printed()
        return run

    def finish(self, cell: Cell, fault: Fault) -> None:
        """Go on with the run at once, and compare its end."""
        run = self.start(cell)
        assert run.status() == 0, run.printed()
        fault.compare(self.found, self.steady(cell).found)
        assert not self.found.left_over


@pytest.fixture
def struck(
    steady: Callable[..., Steady], job: dict[str, Any], chance: random.Random, tmp_path: Path
) -> Iterator[Struck]:
    return Struck(steady, job, chance, tmp_path)


@of_two_processes
def test_a_rank_that_is_killed(cell: Cell, struck: Struck, tried: Tried) -> None:
    rank = struck.chance.randint(0, 1)
    with tried(cell) as faults:
        run = struck.start_until(cell)
        [process] = ranks(rank)
        os.kill(process, signal.SIGKILL)
        status = run.status()
        faults.append(Fault.struck("a killed rank", f"rank {rank}", struck.found))
        assert status != 0 and f"rank {rank} was ended by SIGKILL" in run.printed()
        assert struck.found.manifest["state"] == "failed"
        struck.finish(cell, faults[0])


@of_each_backend
def test_sigterm_during_a_save(cell: Cell, struck: Struck, tried: Tried) -> None:
    with tried(cell) as faults:
        run, found = struck.start(cell), struck.found
        assert run.wait_for(lambda: found.saving), run.printed()
        run.process.send_signal(signal.SIGTERM)
        status = run.status()
        faults.append(Fault.struck("SIGTERM during a save", "while the first checkpoint was half-written", found))
        assert status == 128 + signal.SIGTERM, run.printed()
        assert (found.manifest["state"], found.manifest["cause"]) == ("stopped", "SIGTERM")
        assert faults[0].checkpoint == faults[0].told and not found.saving
        struck.finish(cell, faults[0])


@of_each_backend
def test_a_loss_that_is_no_number(cell: Cell, struck: Struck, tried: Tried) -> None:
    # Long epochs, so that the loss shows what it is before the next checkpoint.
    changes = {"effective_batch_size": 2, "num_epochs": 2}
    with tried(cell) as faults:
        run, found = struck.start(cell, spoil=True, **changes), struck.found
        status = run.status()
        faults.append(Fault.struck("a loss that is NaN", "a learning rate of 1e30 after a checkpoint", found))
        assert status != 0 and "NonFiniteLossError" in run.printed(), run.printed()
        assert (found.manifest["state"], faults[0].checkpoint) == ("failed", 25)
        last = struck.start(cell, **changes)
        assert last.status() == 0, last.printed()
        faults[0].compare(found, struck.steady(cell, **changes).found)


@of_each_backend
def test_the_holder_of_the_lock_is_killed(cell: Cell, struck: Struck, tried: Tried) -> None:
    with tried(cell) as faults:
        run = struck.start_until(cell)
        second = struck.start(cell, resume=False, overwrite_output_dir=True)
        assert second.status() != 0
        assert "a run is under way there" in second.printed() and str(run.process.pid) in second.printed()
        assert run.process.poll() is None
        run.kill()
        faults.append(Fault.struck("the lock's holder killed", "after a second run was refused", struck.found))
        struck.finish(cell, faults[0])


@of_each_backend
def test_a_line_of_the_events_is_torn(cell: Cell, struck: Struck, tried: Tried) -> None:
    found = struck.found
    with tried(cell) as faults:
        struck.start_until(cell).kill()
        whole = found.whole_lines
        begin = whole.rfind(b"\n", 0, -1) + 1
        cut = struck.chance.randint(begin + 1, len(whole) - 2)
        found.stream.write_bytes(whole[:cut])
        faults.append(Fault.struck("a torn events line", f"{cut - begin} of {len(whole) - begin} bytes left", found))
        assert len(list(read_events(found.stream))) == whole.count(b"\n") - 1
        assert fold(read_events(found.stream)).reached == faults[0].told
        struck.finish(cell, faults[0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk is mounted, which only root may do, and not everywhere")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@of_each_backend
def test_a_disk_that_fills(cell: Cell, struck: Struck, tried: Tried, small_disk: Path) -> None:
    struck.found = found = Found(small_disk / "out")
    with tried(cell) as faults:
        run = struck.start_until(cell)
        left = struck.chance.choice([0, struck.chance.randint(0, 1_000_000)])
        others = small_disk / "of-somebody-else"
        with others.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, shutil.disk_usage(small_disk).free - left))
        status = run.status()
        faults.append(Fault.struck("a disk that fills", f"{left} bytes left", found))
        assert status != 0 and "no space left" in run.printed().lower(), run.printed()
        others.unlink()
        struck.finish(cell, faults[0])
