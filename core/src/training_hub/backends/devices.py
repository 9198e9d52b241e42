"""The accelerators of this machine, told without importing a framework."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["cuda", "mps", "cpu"]


@dataclass(frozen=True)
class Devices:
    """What a process here can train on."""

    kind: Kind
    count: int
    """GPUs that are visible; for `cpu` the cores a process may use."""
    names: tuple[str, ...] = ()
    bf16: bool = False
    """Whether every GPU computes in bfloat16 (NVIDIA's since Ampere)."""

    def __str__(self) -> str:
        if self.kind == "cpu":
            return f"{self.count} CPU cores, no GPU"
        return f"{self.count} x {self.names[0] if self.names else self.kind}"


def devices(environment: Mapping[str, str] | None = None) -> Devices:
    """The devices that a process started with this environment (by default the caller's) would see."""
    environment = os.environ if environment is None else environment
    gpus = _visible(_nvidia(), environment.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        return Devices("cuda", len(gpus), tuple(gpu.name for gpu in gpus), all(gpu.bf16 for gpu in gpus))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Devices("mps", 1, ("Apple GPU",))
    affinity = getattr(os, "sched_getaffinity", None)
    return Devices("cpu", len(affinity(0)) if affinity else os.cpu_count() or 1)


@dataclass(frozen=True)
class _GPU:
    name: str
    uuid: str
    bf16: bool


def _visible(gpus: tuple[_GPU, ...], variable: str | None) -> tuple[_GPU, ...]:
    if variable is None:
        return gpus
    chosen: list[_GPU] = []
    for part in (item.strip() for item in variable.split(",")):
        match = [gpu for index, gpu in enumerate(gpus) if part == str(index) or (part and gpu.uuid.startswith(part))]
        # As CUDA does: the first entry that is not there ends the list.
        if not match:
            break
        chosen += match[:1]
    return tuple(chosen)


@cache
def _nvidia() -> tuple[_GPU, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> _GPU:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    major, _ = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return _GPU(str(nvml.nvmlDeviceGetName(handle)), str(nvml.nvmlDeviceGetUUID(handle)), major >= 8)
