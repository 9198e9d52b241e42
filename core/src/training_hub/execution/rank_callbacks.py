"""The callbacks that run on every rank, as the caller's process hands them over: as data that every rank can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_hub.backends.base import FrameworkBackend
from training_hub.callbacks.callback import TrainingHubCallback
from training_hub.callbacks.serialization import ASIDE, needed_modules, serialized
from training_hub.errors import ParameterError
from training_hub.launchers.local import not_found
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters.resolution import Parameters


def for_ranks(
    callbacks: Sequence[TrainingHubCallback], backend: FrameworkBackend, parameters: Parameters, plan: LaunchPlan | None
) -> dict[str, Any]:
    """What `RankCallbacks` takes: those of the callbacks that run on all ranks, and how.

    Args:
        callbacks: All that the run was given.
        backend: That trains.
        parameters: Of the run.
        plan: The processes that train; None where the caller's does.

    Raises:
        ParameterError: One cannot be sent to the ranks, or the backend calls none there.
    """
    meant = [callback for callback in callbacks if callback.run_on_all_ranks]
    if meant and not backend.callbacks_on_ranks:
        raise ParameterError(
            f"callbacks: {type(meant[0]).__name__} has run_on_all_ranks=True, and the {backend.name} backend calls no "
            f"callbacks in the processes that train ({ASIDE})"
        )
    sent = [serialized(callback) for callback in meant]
    if plan is not None:
        _check_found(sent, plan)
    return {
        "callbacks": sent,
        "errors": parameters["callback_errors"],
        "can": sorted(backend.controls),
        "backend": backend.name,
    }


def _check_found(callbacks: Sequence[Mapping[str, Any]], plan: LaunchPlan) -> None:
    """Refuse callbacks whose modules the interpreter of the workers does not find.

    Raises:
        ParameterError: There is one; the message says why.
    """
    modules = list(dict.fromkeys(module for callback in callbacks for module in needed_modules(callback)))
    for module, reason in (not_found(plan, modules) if modules else {}).items():
        raise ParameterError(
            f"callbacks: every rank imports {module}, and in the processes that train {reason}; start from the "
            f"directory it is in, name that in PYTHONPATH, or install it ({ASIDE})"
        )
