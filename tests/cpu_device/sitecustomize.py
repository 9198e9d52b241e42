"""For tests only: lets torchrun workers of frameworks that assume CUDA and NCCL run on a CPU with gloo.

Python imports a module of this name when it starts. With this directory on PYTHONPATH and TRAINING_HUB_CPU_DEVICE=1 in
the environment it acts, and only in processes that torchrun has started (they have LOCAL_RANK); any other process
imports an empty module. The framework's own files, and its training loop, stay as they are.

What it stands in for, one function each: the device (`tensors_stay_on_the_cpu`), what CUDA says of itself
(`figures_of_cuda`), how processes talk (`processes_talk_by_gloo`), two places in FSDP (`fsdp_moves_nothing`), and what
accelerate makes of the machine (`accelerate_sees_several_devices`).

With TRAINING_HUB_CPU_FLOAT32=1 as well, accelerate and FSDP2 compute in float32 where the framework asks for bfloat16
(`accelerate_computes_in_float32`, `fsdp2_computes_in_float32`): then two backends differ by what they do, and not by
how they round.

What it cannot show: flash-attn, NCCL, DeepSpeed, Liger, memory figures (always 0), and anything about speed.
"""

from __future__ import annotations

import os
import traceback
from dataclasses import replace
from importlib.util import find_spec
from typing import Any


def tensors_stay_on_the_cpu() -> None:
    """Any request for a CUDA device gets the CPU."""
    import torch
    import torch._dynamo.trace_rules
    from torch.overrides import TorchFunctionMode

    cpu = torch.device("cpu")

    def replaced(value: Any) -> Any:
        if isinstance(value, torch.device):
            return cpu if value.type == "cuda" else value
        return cpu if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")) else value

    class OnTheCPU(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.Tensor.cuda:
                return args[0]
            if func is torch.device:
                return replaced(func(*args, **(kwargs or {})))
            given = {name: replaced(value) for name, value in (kwargs or {}).items()}
            return func(*[replaced(value) for value in args], **given)

    # torch's compiler looks its rules up by the real functions of torch.cuda, so they are read before any is replaced.
    torch._dynamo.trace_rules.get_torch_obj_rule_map()
    OnTheCPU().__enter__()


def figures_of_cuda() -> None:
    """As many devices as there are processes here, with nothing in their memory."""
    from collections import defaultdict

    import torch

    here = int(os.environ["LOCAL_WORLD_SIZE"])

    def device_count() -> int:
        return here

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    def zero(*args: Any, **kwargs: Any) -> int:
        return 0

    for name in ("set_device", "empty_cache", "synchronize", "reset_peak_memory_stats"):
        setattr(torch.cuda, name, nothing)
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        setattr(torch.cuda, name, zero)
    torch.cuda.memory_stats = lambda *args, **kwargs: defaultdict(int)
    # Frameworks use it only as the value of device=.
    torch.cuda.current_device = lambda: torch.device("cpu")
    # With one device, FSDP's HYBRID_SHARD would shard over one process: replicas that are never brought together.
    torch.cuda.device_count = device_count
    torch.cpu.device_count = device_count


def processes_talk_by_gloo() -> None:
    """Process groups and device meshes of the CPU, whatever is asked for."""
    import torch.distributed as dist
    from torch.distributed import device_mesh, distributed_c10d

    real_group, real_mesh = dist.init_process_group, device_mesh.init_device_mesh

    def init_process_group(backend: Any = None, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("device_id", None)
        real_group("gloo", *args, **kwargs)

    def init_device_mesh(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return real_mesh("cpu", *args, **kwargs)

    for module in (dist, distributed_c10d):
        module.init_process_group = init_process_group
    for module in (dist, device_mesh):
        module.init_device_mesh = init_device_mesh


def fsdp_moves_nothing() -> None:
    """Weights that FSDP would move to the CPU are there already; moving them "away" would free what it still needs."""
    from contextlib import nullcontext

    from torch.distributed.fsdp._flat_param import FlatParamHandle

    FlatParamHandle.to_cpu = lambda self: nullcontext()


def accelerate_sees_several_devices() -> None:
    """Without this accelerate takes the machine for one without accelerators, and leaves FSDP out."""
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    if find_spec("accelerate") is None:
        return
    from accelerate.state import DistributedType, PartialState

    PartialState._prepare_backend = lambda self, *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)


def accelerate_computes_in_float32() -> None:
    """No mixed precision, whatever the framework asks accelerate for."""
    if find_spec("accelerate") is None:
        return
    from accelerate import Accelerator

    real = Accelerator.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs | {"mixed_precision": "no"})

    Accelerator.__init__ = init


def fsdp2_computes_in_float32() -> None:
    """Weights are used as they are held, whatever precision a policy names for computing."""
    from torch.distributed import fsdp

    policy = fsdp.MixedPrecisionPolicy

    def as_held(*args: Any, **kwargs: Any) -> Any:
        return replace(policy(*args, **kwargs), param_dtype=None)

    fsdp.MixedPrecisionPolicy = as_held


def stand_in() -> None:
    """All of it."""
    tensors_stay_on_the_cpu()
    figures_of_cuda()
    processes_talk_by_gloo()
    fsdp_moves_nothing()
    accelerate_sees_several_devices()
    if os.environ.get("TRAINING_HUB_CPU_FLOAT32") == "1":
        accelerate_computes_in_float32()
        fsdp2_computes_in_float32()


if os.environ.get("TRAINING_HUB_CPU_DEVICE") == "1" and "LOCAL_RANK" in os.environ:
    try:
        stand_in()
    except Exception as error:
        # Python itself would only print it and go on, with half of the stand-in.
        traceback.print_exc()
        raise SystemExit("the stand-in for CUDA is broken") from error
