"""How the processes of a node ended where one of them failed: from the process that started them to the caller's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from training_hub.store.directory import read_json, write_json

FILE = "torchrun.error.json"
"""Its name in the logs of a run."""
VARIABLE = "TRAINING_HUB_PROCESS_ENDS"
"""Says, to the process that starts the others, where that file goes."""


@dataclass(frozen=True)
class ProcessEnd:
    """The end of a process that failed, or that was ended because another one had."""

    rank: int
    """Among the processes of all nodes."""
    local_rank: int
    """Among those of the node."""
    exit_code: int
    """Below 0 where a signal ended it: the signal's number."""
    time: float
    """When it was noticed, in seconds since the epoch."""


def write_ends(path: Path, ends: Iterable[ProcessEnd]) -> None:
    """Write them into a file, in the order in which they were noticed."""
    write_json(path, {"processes": [asdict(end) for end in ends]})


def read_ends(path: Path) -> list[ProcessEnd]:
    """Read what `write_ends` wrote; empty where nothing was."""
    return [ProcessEnd(**end) for end in read_json(path)["processes"]] if path.exists() else []
