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

from training_hub.errors import OutputDirectoryError
from training_hub.reading.history import fold
from training_hub.store.events import read_events
from training_hub.store.lock import locked
from training_hub.testing.killer import ranks

pytestmark = pytest.mark.faults
of_each_backend = pytest.mark.parametrize("cell", here(algorithm="sft", processes=2), ids=str)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of 64 MB, in memory; None where this machine mounts none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, check=False, capture_output=True).returncode
    yield disk if mounted else None
    if mounted:
        subprocess.run(["umount", "--lazy", disk], check=True)


@of_each_backend
def test_one_fault_after_the_other(
    cell: Cell,
    job: dict[str, Any],
    steady: Callable[..., Steady],
    chance: random.Random,
    tried: Callable[[Cell], Any],
    tmp_path: Path,
    small_disk: Path | None,
) -> None:
    whole, found = steady(cell), Found((small_disk or tmp_path) / "out")
    asked = job | {"ckpt_output_dir": found.out}

    def goes_on() -> Started:
        return Started(cell, asked, tmp_path)

    with tried(cell) as faults:
        faults.append(sigterm_during_a_save(goes_on(), found))
        faults.append(a_killed_rank(goes_on(), found, chance))
        faults.append(the_holder_of_the_lock_is_killed(goes_on(), found, chance))
        faults.append(a_torn_line(found, chance))
        faults[-2].whole_lines = faults[-1].whole_lines
        if small_disk:
            faults.append(a_disk_that_fills(goes_on(), found, chance, small_disk))
        goes_on().ends_well()
        for fault in faults:
            fault.compare(found, whole.found)
    assert not found.left_over


def at_a_step(run: Started, chance: random.Random) -> None:
    """Wait for one of the first steps that a run takes."""
    first = run.found.checkpoint
    step = first + chance.randint(1, 7)
    assert run.wait_for(lambda: run.has_told("step", step=step)), run.printed()


def sigterm_during_a_save(run: Started, found: Found) -> Fault:
    assert run.wait_for(lambda: found.saving), run.printed()
    run.process.send_signal(signal.SIGTERM)
    status = run.status()
    assert status == 128 + signal.SIGTERM, run.printed()
    assert (found.manifest["state"], found.manifest["cause"]) == ("stopped", "SIGTERM")
    fault = Fault.struck("SIGTERM during a save", "the first checkpoint was half-written", found)
    assert fault.checkpoint == fault.told and not found.saving
    return fault


def a_killed_rank(run: Started, found: Found, chance: random.Random) -> Fault:
    rank = chance.randint(0, 1)
    at_a_step(run, chance)
    [process] = ranks(rank)
    os.kill(process, signal.SIGKILL)
    status = run.status()
    assert status != 0 and f"rank {rank} was ended by SIGKILL" in run.printed(), run.printed()
    assert found.manifest["state"] == "failed"
    return Fault.struck("a killed rank", f"rank {rank}", found)


def the_holder_of_the_lock_is_killed(run: Started, found: Found, chance: random.Random) -> Fault:
    at_a_step(run, chance)
    refused = pytest.raises(OutputDirectoryError, match=f"under way there .process {run.process.pid} on")
    with refused, locked(found.out, patience=0):
        pass
    run.kill()
    return Fault.struck("the lock's holder killed", "after a second run was refused", found)


def a_torn_line(found: Found, chance: random.Random) -> Fault:
    """Cut the last line of a run that was killed."""
    whole = found.whole_lines
    count, begin = whole.count(b"\n"), whole.rfind(b"\n", 0, -1) + 1
    cut = chance.randint(begin + 1, len(whole) - 2)
    found.stream.write_bytes(whole[:cut])
    assert len(list(read_events(found.stream))) == count - 1
    fault = Fault.struck("a torn events line", f"{cut - begin} of {len(whole) - begin} bytes are left", found)
    assert fold(read_events(found.stream)).reached == fault.told
    return fault


def a_disk_that_fills(run: Started, found: Found, chance: random.Random, disk: Path) -> Fault:
    at_a_step(run, chance)
    left = chance.choice([0, chance.randint(0, 1_000_000)])
    others = disk / "of-somebody-else"
    with others.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, shutil.disk_usage(disk).free - left))
    status = run.status()
    assert status != 0 and "no space left" in run.printed().lower(), run.printed()
    fault = Fault.struck("a disk that fills", f"{left} bytes are left", found)
    others.unlink()
    return fault


@pytest.mark.parametrize(
    "cell", [cell for cell in here(algorithm="sft", processes=1) if cell.backend == "trl"], ids=str
)
def test_a_loss_that_is_no_number(
    cell: Cell, job: dict[str, Any], steady: Callable[..., Steady], tried: Callable[[Cell], Any], tmp_path: Path
) -> None:
    # Long epochs, so that the loss shows what it is before the next checkpoint.
    changes = {"effective_batch_size": 2, "num_epochs": 2}
    found = Found(tmp_path / "out")
    asked = job | changes | {"ckpt_output_dir": found.out}
    with tried(cell) as faults:
        run = Started(cell, asked, tmp_path, spoil=True)
        assert run.status() != 0 and "NonFiniteLossError" in run.printed(), run.printed()
        faults.append(Fault.struck("a loss that is NaN", "a learning rate of 1e30 after a checkpoint", found))
        assert (found.manifest["state"], faults[0].checkpoint) == ("failed", 25)
        Started(cell, asked, tmp_path).ends_well()
        faults[0].compare(found, steady(cell, **changes).found)
