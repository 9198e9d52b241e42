"""What is wrong with values of TRL's and transformers' own arguments, which they tell once the run has started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from training_hub.plugin import Devices, FrameworkSources, Parameters, nearest

_BITSANDBYTES = ("bitsandbytes", "bitsandbytes")
_PACKAGES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "ademamix", "ademamix_8bit"), _BITSANDBYTES),
    **dict.fromkeys(("lion_8bit", "lion_32bit", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"), _BITSANDBYTES),
    **dict.fromkeys(("adamw_torch_4bit", "adamw_torch_8bit"), ("torchao", "torchao")),
    **dict.fromkeys(("lomo", "adalomo"), ("lomo_optim", "lomo-optim")),
    "grokadamw": ("grokadamw", "grokadamw"),
    "stable_adamw": ("optimi", "torch-optimi"),
    "adamw_anyprecision": ("torchdistx", "torchdistx"),
    "adamw_torch_xla": ("torch_xla", "torch-xla"),
    "adamw_torch_npu_fused": ("torch_npu", "torch-npu"),
}
"""Optimizers of packages that nothing here requires: the module, and what is installed for it."""
_FAMILIES: Mapping[str, tuple[str, str]] = {
    "paged_": _BITSANDBYTES,
    "galore_": ("galore_torch", "galore-torch"),
    "apollo_": ("apollo_torch", "apollo-torch"),
    "schedule_free_": ("schedulefree", "schedulefree"),
}
"""The same by how the name begins."""
_OF_SOME_LAYERS = ("galore_", "apollo_")


def problems(
    parameters: Parameters,
    devices: Devices,
    sources: FrameworkSources,
    *,
    own_optimizer: Callable[[str], bool] = lambda name: False,
) -> Iterator[str]:
    """What is wrong, each as a line that names the keyword.

    Args:
        parameters: Those of the run, with further keywords.
        devices: What is at hand.
        sources: Reads which optimizers transformers knows; where it cannot, any may be.
        own_optimizer: Whether a framework that trains through TRL sees to an optimizer of this name itself.
    """
    given = parameters.backend_kwargs

    def wrong(name: str, why: str) -> str:
        return f"{name}={given[name]!r}{parameters.source(name)}: {why}"

    steps = given.get("max_steps")
    if isinstance(steps, int | float) and steps < 1 and steps != -1:
        yield wrong("max_steps", "expected at least 1 step; leave it out to train for num_epochs")
    name = given.get("optim")
    checked = name is not None and not own_optimizer(str(name))
    if checked and (problem := _no_optimizer(str(name), given, devices, sources)):
        yield wrong("optim", problem)
    workers = given.get("dataloader_num_workers", 0)
    if isinstance(workers, int | float) and workers < 0:
        yield wrong("dataloader_num_workers", "expected at least 0")
    if given.get("dataloader_prefetch_factor") is not None and not workers:
        yield wrong("dataloader_prefetch_factor", "only dataloader_num_workers prefetch; give these, too")
    if given.get("deepspeed") is not None and find_spec("deepspeed") is None:
        yield wrong("deepspeed", "deepspeed is not installed: pip install deepspeed")


def _no_optimizer(name: str, given: Mapping[str, Any], devices: Devices, sources: FrameworkSources) -> str | None:
    known = sources.members_of("transformers", "training_args.py", "OptimizerNames")
    if known and name not in known:
        return f"transformers knows no such optimizer{nearest(name, known)}; there are {', '.join(sorted(known))}"
    families = [needed for beginning, needed in _FAMILIES.items() if name.startswith(beginning)]
    module, package = _PACKAGES.get(name) or next(iter(families), ("", ""))
    if package == "bitsandbytes" and devices.kind != "cuda":
        return f"bitsandbytes needs a GPU, and there is {devices}; leave it out for PyTorch's AdamW"
    if module and find_spec(module) is None:
        return f"{package} is not installed: pip install {package}; or leave it out for PyTorch's AdamW"
    if name.startswith(_OF_SOME_LAYERS) and not given.get("optim_target_modules"):
        return "it needs optim_target_modules: the layers whose gradients it projects, for instance ['attn', 'mlp']"
    return None
