"""The hooks of this plugin. Importing it imports neither torch nor TRL."""

from __future__ import annotations

from collections.abc import Callable

from training_hub.plugin import Algorithm, Backend, RowFormat, hookimpl

training_hub_hooks = 1


@hookimpl
def training_hub_backends() -> dict[str, type[Backend]]:
    from training_hub_trl.backend import TRLBackend

    return {"trl": TRLBackend}


@hookimpl
def training_hub_algorithms() -> list[type[Algorithm]]:
    from training_hub_trl.dpo.algorithm import DPOAlgorithm

    return [DPOAlgorithm]


@hookimpl
def training_hub_row_formats() -> list[RowFormat]:
    from training_hub_trl.dpo.preference import PreferenceFormat

    return [PreferenceFormat()]


@hookimpl
def training_hub_demo() -> Callable[..., None]:
    from training_hub_trl.demo import demo

    return demo
