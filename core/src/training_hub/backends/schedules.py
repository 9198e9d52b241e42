"""Whether transformers can make a learning-rate schedule with the keywords given, told from its installed source.

Frameworks hand `lr_scheduler` and `lr_scheduler_kwargs` to `transformers.get_scheduler`, which would say so only once
the model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training_hub.backends.framework_arguments import UnreadableSourceError, parameters_of
from training_hub.errors import nearest

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


def schedule_problem(name: str, keywords: Mapping[str, Any] | None) -> str | None:
    """Why the schedule cannot be made, or None.

    Args:
        name: `lr_scheduler`.
        keywords: `lr_scheduler_kwargs`.
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
    return None
