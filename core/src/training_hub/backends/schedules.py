"""Whether transformers can make a learning-rate schedule with the keywords given, told from its installed source.

Frameworks hand `lr_scheduler` and `lr_scheduler_kwargs` to `transformers.get_scheduler`, which would say so only once
the model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from training_hub.backends.framework_arguments import UnreadableSourceError, parameters_of
from training_hub.errors import nearest
from training_hub.parameters.description import misfit

_FUNCTIONS = {
    "linear": ("transformers", "optimization.py", "get_linear_schedule_with_warmup"),
    "cosine": ("transformers", "optimization.py", "get_cosine_schedule_with_warmup"),
    "cosine_with_restarts": ("transformers", "optimization.py", "get_cosine_with_hard_restarts_schedule_with_warmup"),
    "cosine_with_min_lr": ("transformers", "optimization.py", "get_cosine_with_min_lr_schedule_with_warmup"),
    "polynomial": ("transformers", "optimization.py", "get_polynomial_decay_schedule_with_warmup"),
    "inverse_sqrt": ("transformers", "optimization.py", "get_inverse_sqrt_schedule"),
    "reduce_lr_on_plateau": ("torch", "optim/lr_scheduler.py", "ReduceLROnPlateau.__init__"),
    "warmup_stable_decay": ("transformers", "optimization.py", "get_wsd_schedule"),
}
"""The others take no keywords: `get_scheduler` does not pass them on."""
_GIVEN_BY_THE_TRAINER = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
_NEEDED = {"cosine_with_min_lr": {"min_lr", "min_lr_rate"}, "warmup_stable_decay": {"num_decay_steps"}}
"""Keywords of which just one must be given."""


_POSITIVE, _SHARE = Annotated[float, Gt(0)], Annotated[float, Interval(ge=0, le=1)]
_COUNT, _RATE = Annotated[int, Ge(0)], Annotated[float, Ge(0)]
_SHAPE = Literal["linear", "cosine", "1-sqrt"]
_VALUES: Mapping[str, Any] = {
    **{"num_cycles": _POSITIVE, "power": _POSITIVE, "lr_end": _RATE, "min_lr_rate": _SHARE, "min_lr_ratio": _SHARE},
    **{"timescale": Annotated[int, Ge(1)], "num_decay_steps": _COUNT, "num_stable_steps": _COUNT},
    **{"warmup_type": _SHAPE, "decay_type": _SHAPE, "mode": Literal["min", "max"]},
    **{"factor": Annotated[float, Interval(gt=0, lt=1)], "patience": _COUNT, "cooldown": _COUNT, "eps": _RATE},
    **{"threshold_mode": Literal["rel", "abs"], "min_lr": Annotated[float, Ge(0)] | list[float]},
}
"""What a keyword's value must be, where something else is an error as the schedule is made, or at its first step."""
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"polynomial": {"lr_end": 1e-7}}
_RATES = ("lr_end", "min_lr")
"""Keywords that say where the learning rate falls to."""


def schedule_problem(name: str, keywords: Mapping[str, Any] | None, learning_rate: float | None = None) -> str | None:
    """Why the schedule cannot be made, or None.

    Args:
        name: `lr_scheduler`.
        keywords: `lr_scheduler_kwargs`.
        learning_rate: The peak, where the schedule must stay below it.
    """
    given = set(keywords or ())
    try:
        # What there is to know is read from source, which takes a moment.
        read = parameters_of(*_FUNCTIONS[name]) if given and name in _FUNCTIONS else frozenset()
    except UnreadableSourceError:
        return None
    known = read - _GIVEN_BY_THE_TRAINER
    if unknown := sorted(given - known):
        there = f"there are: {', '.join(sorted(known))}" if known else "it takes none"
        return f"{unknown[0]} is no keyword of the schedule {name!r}{nearest(unknown[0], known)}; {there}"
    needed = _NEEDED.get(name, set())
    if needed and len(given & needed) != 1:
        return f"the schedule {name!r} needs {'either ' if len(needed) > 1 else ''}{' or '.join(sorted(needed))}"
    return _value_problem({**_DEFAULTS.get(name, {}), **(keywords or {})}, learning_rate)


def _value_problem(keywords: Mapping[str, Any], learning_rate: float | None) -> str | None:
    for key, value in keywords.items():
        if value is not None and (problem := misfit(value, _VALUES.get(key, Any))):
            return f"{key}: {problem}"
    for key in _RATES:
        value = keywords.get(key)
        if learning_rate is not None and isinstance(value, int | float) and value >= learning_rate:
            return f"{key}={value} is not below learning_rate={learning_rate}, which falls to it; give a smaller one"
    return None
