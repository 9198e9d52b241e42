"""Valid values of a declared parameter other than its default, told from its type, bounds and choices alone.

By hand and not by Hypothesis: two values near the default say whether a parameter is heeded, they are the same in every
run, and an author's tests need no further package.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from typing_extensions import get_type_hints

from training_hub.parameters.declaration import Parameter

TEXT = "contract"
"""A text where nothing says which."""

WRITTEN: Mapping[str, Any] = {
    "lr_scheduler_kwargs": {"num_cycles": 2},
    "master_addr": "127.0.0.1",
    "rdzv_endpoint": "127.0.0.1:29400",
    "target_modules": ["q_proj", "v_proj"],
    "target_patterns": ["q_proj"],
}
"""Values of the hub's own parameters whose text has a form that the type does not say."""

_DOCUMENTS = {"is_pretraining": True, "block_size": 64}
_VALIDATION = {"validation_split": 0.25}
_FOUR_BIT = {"load_in_4bit": True}

COMPANIONS: Mapping[str, Mapping[str, Any]] = {
    "is_pretraining": _DOCUMENTS,
    "block_size": _DOCUMENTS,
    "document_column_name": _DOCUMENTS,
    "max_seq_len": {"max_tokens_per_gpu": 65536},
    "validation_frequency": _VALIDATION,
    "eval_steps": _VALIDATION,
    "save_best_val_loss": _VALIDATION,
    "val_loss_improvement_threshold": {**_VALIDATION, "save_best_val_loss": True},
    "nnodes": {"master_addr": "127.0.0.1"},
    "node_rank": {"nnodes": 2, "master_addr": "127.0.0.1"},
    "resume_changes": {"resume": True},
    "rdzv_id": {"rdzv_endpoint": "127.0.0.1:29400"},
    "master_port": {"master_addr": "127.0.0.1"},
    "wandb_entity": {"wandb_project": TEXT},
    "wandb_run_name": {"wandb_project": TEXT},
    "mlflow_experiment_name": {"mlflow_tracking_uri": TEXT},
    "mlflow_run_name": {"mlflow_tracking_uri": TEXT},
    "bnb_4bit_quant_type": _FOUR_BIT,
    "bnb_4bit_compute_dtype": _FOUR_BIT,
    "bnb_4bit_use_double_quant": _FOUR_BIT,
    "loftq_config": {"init_lora_weights": "loftq"},
}
"""What the hub's own parameters need beside them to be valid, or to mean anything."""


def candidates(parameter: Parameter, default: Any) -> list[Any]:
    """Values that differ from the default; all choices of a choice, one of every type else. May be empty.

    Args:
        parameter: The declaration.
        default: The default, computed where it follows from other parameters.
    """
    found = [WRITTEN[parameter.name]] if parameter.name in WRITTEN else list(_values(parameter.type, (), default))
    different: list[Any] = []
    for value in found:
        # True equals 1, and is not the same choice.
        seen = [(type(other), other) for other in (default, *different)]
        if value is not None and (type(value), value) not in seen:
            different.append(value)
    return different


def _values(annotation: Any, bounds: tuple[Any, ...], default: Any) -> Iterator[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _values(arguments[0], (*arguments[1:], *bounds), default)
    elif origin is Literal:
        yield from arguments
    elif origin in (Union, types.UnionType):
        for member in arguments:
            if member is not type(None):
                yield from _values(member, bounds, default)
    elif annotation is bool:
        yield from (True, False)
    elif annotation is int:
        yield from _number(_whole(bounds), default, (2, 1, 0, -1), 1)
    elif annotation is float:
        yield from _number(_range(bounds), default, (0.5, 0.25, 0.0, -1.0), 1e-6)
    elif annotation is str or getattr(origin or annotation, "__name__", "") == "PathLike":
        yield TEXT * next((bound.min_length for bound in bounds if isinstance(bound, MinLen)), 1)
    elif origin in (list, tuple, Sequence) and arguments:
        yield from ([value] for value in list(_values(arguments[0], (), None))[:1])
    elif origin is dict or annotation is dict:
        yield from ({TEXT: value} for value in list(_values(arguments[1] if arguments else Any, (), None))[:1])
    elif hasattr(annotation, "__total__"):
        for key, kind in get_type_hints(annotation, include_extras=True).items():
            yield from ({key: value} for value in _values(kind, (), None))
    elif annotation is Any:
        yield 1
    elif isinstance(annotation, type):
        # A class of the hub's or a plugin's own, such as that of callbacks.
        with suppress(TypeError):
            yield annotation()


def _number(
    bounds: tuple[float | None, float | None, bool, bool], default: Any, usual: tuple[Any, ...], least: Any
) -> Iterator[Any]:
    """Two numbers inside the bounds: the double or half of the default, or usual ones, or those at a bound."""
    low, high, above, below = bounds
    tried: list[Any] = []
    if isinstance(default, int | float) and not isinstance(default, bool) and default:
        kind = type(least)
        tried += [kind(default * 2), kind(default / 2)]
    tried += [
        *usual,
        *([low, low + least] if low is not None else []),
        *([high, high - least] if high is not None else []),
    ]
    found: list[Any] = []
    for value in tried:
        too_low = low is not None and (value <= low if above else value < low)
        too_high = high is not None and (value >= high if below else value > high)
        if not too_low and not too_high and value != default and value not in found:
            found.append(value)
    yield from found[:2]


def _range(bounds: tuple[Any, ...]) -> tuple[float | None, float | None, bool, bool]:
    low: Any = None
    high: Any = None
    above = below = False
    for bound in bounds:
        for part in bound if isinstance(bound, Interval) else [bound]:
            match part:
                case Ge():
                    low = part.ge
                case Gt():
                    low, above = part.gt, True
                case Le():
                    high = part.le
                case Lt():
                    high, below = part.lt, True
                case _:
                    pass
    return low, high, above, below


def _whole(bounds: tuple[Any, ...]) -> tuple[float | None, float | None, bool, bool]:
    low, high, above, below = _range(bounds)
    # Whole numbers have a next one, so a bound that is left out is the next one.
    return (
        low + 1 if low is not None and above else low,
        high - 1 if high is not None and below else high,
        False,
        False,
    )
