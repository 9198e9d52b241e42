"""What OSFT protects of a model: how many of its weights, by kind, and whether that is enough to begin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from training_hub.backends.job import Job
from training_hub.errors import ParameterError
from training_hub.store.events import EventLog
from training_hub.worker.osft_targets import SEEING, preserved_rank
from training_hub.worker.rank import rank

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_IN_NAMES = {
    "experts": ("expert",),
    "feed-forward": ("mlp", "feed_forward", "ffn", "fc1", "fc2", "moe"),
    "attention": ("attn", "attention"),
}
"""Kinds by parts of names, as models of transformers have them; the first that fits counts."""


@dataclass(frozen=True)
class Kind:
    """The trained weights of one kind, as numbers of weights."""

    trained: int
    protected: int
    """Of these: in matrices that are split."""
    in_layers: int
    """Of these: in matrices of the layers, which could be."""


def protection(model: PreTrainedModel, protected: Collection[str]) -> dict[str, Kind]:
    """The trained weights of a model by kind: attention, feed-forward, experts, embeddings, norms, other.

    Parts that see or hear are not counted: rows of text do not reach them, and they stay as they are.

    Args:
        model: The plain model; its weights may be on the meta device.
        protected: Names of the weights that are split.
    """
    head = model.get_output_embeddings()
    outside = {id(model.get_input_embeddings().weight), *([] if head is None else [id(head.weight)])}
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{own}"
            if not parameter.requires_grad or id(parameter) in seen or any(part in name for part in SEEING):
                continue
            seen.add(id(parameter))
            embeds = id(parameter) in outside or _embeds(module)
            kind = "embeddings" if embeds else _kind(name, module)
            of_kind = counted[kind]
            of_kind[0] += parameter.numel()
            of_kind[1] += parameter.numel() * (name in protected)
            of_kind[2] += parameter.numel() * (parameter.ndim > 1 and (not embeds or name in protected))
    return {kind: Kind(*numbers) for kind, numbers in sorted(counted.items())}


def _embeds(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.Embedding)


def _kind(name: str, module: nn.Module) -> str:
    if "norm" in type(module).__name__.lower():
        return "norms"
    return next((kind for kind, parts in _IN_NAMES.items() if any(part in name for part in parts)), "other")


def share(found: Mapping[str, Kind]) -> float:
    """Of the weights in matrices of the layers, that is all but embeddings and head: the share that is protected."""
    in_layers = sum(kind.in_layers for kind in found.values())
    return sum(kind.protected for kind in found.values()) / in_layers if in_layers else 0.0


def require_protection(job: Job, model: PreTrainedModel, targets: Collection[str]) -> None:
    """Tell what a run of OSFT protects, and refuse one that protects too little. Before anything is split.

    Args:
        job: The job; its `unfreeze_rank_ratio` says which targets are too small for a direction to be protected.
        model: The plain model.
        targets: Names of the weights that are to be split.

    Raises:
        ParameterError: The share that is protected is below `min_protected_share`.
    """
    asked = job.parameters
    ratio = asked["unfreeze_rank_ratio"]
    found = protection(model, {name for name in targets if preserved_rank(model.get_parameter(name).shape, ratio) > 0})
    reached = share(found)
    if rank() == 0:
        kinds = {name: asdict(kind) for name, kind in found.items()}
        EventLog(job.directory.events).emit("protection", share=reached, kinds=kinds)
    least = asked.get("min_protected_share", 0.0)
    # A ratio of 1 asks for no protection in so many words.
    if reached >= least or ratio >= 1.0:
        return
    each = ", ".join(
        f"{name} {kind.protected / kind.trained:.0%} of {kind.trained}" for name, kind in found.items() if kind.trained
    )
    raise ParameterError(
        f"min_protected_share={least}: OSFT would protect {reached:.1%} of the weights in this model's layers, and "
        f"train the rest freely ({each}); name more with target_patterns, or allow it with min_protected_share="
        f"{int(reached * 100) / 100}"
    )
