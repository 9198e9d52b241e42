"""What the hub itself brings, by the hooks that plugins use: algorithms, row formats, trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training_hub.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from training_hub.algorithms.base import Algorithm
    from training_hub.data.row_format import RowFormat
    from training_hub.trackers.tracker import Tracker

training_hub_hooks = 1


@hookimpl
def training_hub_algorithms() -> list[type[Algorithm]]:
    from training_hub.algorithms.lora_sft import LoRASFTAlgorithm
    from training_hub.algorithms.osft import OSFTAlgorithm
    from training_hub.algorithms.sft import SFTAlgorithm

    return [SFTAlgorithm, OSFTAlgorithm, LoRASFTAlgorithm]


@hookimpl
def training_hub_row_formats() -> list[RowFormat]:
    from training_hub.data.formats import BUILTIN

    return list(BUILTIN.own)


@hookimpl
def training_hub_trackers() -> list[type[Tracker]]:
    from training_hub.trackers.kubeflow import Kubeflow
    from training_hub.trackers.mlflow import MLflow
    from training_hub.trackers.tensorboard import TensorBoard
    from training_hub.trackers.wandb import WeightsAndBiases

    return [WeightsAndBiases, TensorBoard, MLflow, Kubeflow]
