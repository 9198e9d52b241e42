"""The accelerators of this machine, told without importing a framework."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["cuda", "mps", "cpu"]


@dataclass(frozen=True)
class Devices:
    """What a process here can train on."""

    kind: Kind
    count: int
    """GPUs that are visible; for `cpu` the cores a process may use."""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "cpu":
            return f"{self.count} CPU cores, no GPU"
        return f"{self.count} x {self.names[0] if self.names else self.kind}"


def devices(environment: Mapping[str, str] | None = None) -> Devices:
    """The devices that a process started with this environment (by default the caller's) would see."""
    environment = os.environ if environment is None else environment
    names = _visible(_nvidia(), environment.get("CUDA_VISIBLE_DEVICES"))
    if names:
        return Devices("cuda", len(names), names)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Devices("mps", 1, ("Apple GPU",))
    affinity = getattr(os, "sched_getaffinity", None)
    return Devices("cpu", len(affinity(0)) if affinity else os.cpu_count() or 1)


def _visible(names: tuple[str, ...], variable: str | None) -> tuple[str, ...]:
    if variable is None:
        return names
    chosen: list[str] = []
    for part in filter(None, (item.strip() for item in variable.split(","))):
        if part.startswith(("GPU-", "MIG-")):
            chosen.append(names[0] if names else part)
        # As CUDA does: the first index that is not there ends the list.
        elif not part.isdigit() or int(part) >= len(names):
            break
        else:
            chosen.append(names[int(part)])
    return tuple(chosen) if names else ()


@cache
def _nvidia() -> tuple[str, ...]:
    import pynvml  # type: ignore[import-untyped]

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
