"""Keywords of the older package's functions that are not the hub's: what each becomes, or what to use instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from training_hub.compat.deprecation import deprecated
from training_hub.errors import ParameterError


@dataclass(frozen=True)
class Older:
    """What a keyword of the older package becomes."""

    becomes: Callable[[Any], Mapping[str, Any]]
    """Parameters by name; it raises `ParameterError` for a value that nothing here does."""
    said: str
    """What to write instead."""


def local_storage(value: Any) -> dict[str, Any]:
    """What `checkpoint_storage` becomes: nothing, where checkpoints stay in their directory.

    Raises:
        ParameterError: They are to go elsewhere.
    """
    if value in ("", "pvc", None):
        return {}
    raise ParameterError(
        f"checkpoint_storage={value!r}: checkpoints are written to ckpt_output_dir alone; mount the storage there, or "
        "copy context.checkpoint in the on_save of a callback"
    )


def _resumes(value: Any) -> dict[str, Any]:
    return {"resume": True} if value else {}


def _did_nothing(name: str, instead: str) -> Older:
    def refuse(value: Any) -> dict[str, Any]:
        raise ParameterError(f"{name}={value!r}: the older package took it for lora_sft and did nothing; {instead}")

    return Older(refuse, instead)


_AS_EVER = Older(_resumes, "every run saves on SIGTERM by itself; give resume=True to go on from what was saved")

KEYWORDS: Mapping[str, Older] = {
    "max_batch_len": Older(lambda value: {"max_tokens_per_gpu": value}, "it is max_tokens_per_gpu"),
    "enable_jit_checkpoint": _AS_EVER,
    "on_demand_checkpointing": _AS_EVER,
    "checkpoint_storage": Older(local_storage, "checkpoints are written to ckpt_output_dir; leave it out"),
    "save_samples": _did_nothing("save_samples", "save by steps, with save_steps"),
    "accelerate_full_state_at_epoch": _did_nothing(
        "accelerate_full_state_at_epoch", "leave it out: every checkpoint can be resumed from"
    ),
}
"""By name; each counts where the algorithm declares no parameter of that name."""


def renamed(
    given: Mapping[str, Any], origin: Mapping[str, str], declared: Collection[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and their origins by the hub's names, with a `DeprecationWarning` for each older one.

    Args:
        given: Values by name; None means "not given".
        origin: Where a value came from, where that is not the call.
        declared: The names that the algorithm takes.

    Raises:
        ParameterError: Nothing here does what a value asks for, or the older and the newer name say different things.
    """
    values, origins = dict(given), dict(origin)
    for name in KEYWORDS.keys() & given.keys() - set(declared):
        if (value := values.pop(name)) is None:
            continue
        older = KEYWORDS[name]
        new = {target: found for target, found in older.becomes(value).items() if target in declared}
        source = origins.pop(name, None)
        for target, found in new.items():
            if values.get(target) not in (None, found):
                raise ParameterError(
                    f"{name}={value!r} and {target}={values[target]!r} say different things: give {target} alone"
                )
            values[target] = found
            if source:
                origins[target] = source
        deprecated(f"{name} is a keyword of the older training_hub: {older.said}")
    return values, origins
