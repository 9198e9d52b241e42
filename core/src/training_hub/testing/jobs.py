"""A job as the processes that train have it, for tests of what a worker does with one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_hub.backends.job import Job, JobParameters
from training_hub.data import DatasetOptions, DatasetSummary, check_dataset
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.store.directory import RunDirectory, data_directory


def make_job(
    directory: Path,
    algorithm: str = "sft",
    *,
    backend: str = "",
    arguments: Mapping[str, Mapping[str, Any]] | None = None,
    **given: Any,
) -> Job:
    """The job of a run in a directory that is made here; nothing is checked but the rows, where `data_path` is given.

    Args:
        directory: The run's.
        algorithm: The algorithm's name.
        backend: Of which it is said that it trains.
        arguments: The framework's arguments, by the class or function that takes them.
        **given: Parameters; the others have their defaults, and paths that lead nowhere.
    """
    paths = {"model_path": "model", "data_path": "rows.jsonl", "ckpt_output_dir": str(directory)}
    values = AlgorithmRegistry.get_algorithm(algorithm).resolve(paths | given)
    options = DatasetOptions.of(values)
    rows = (
        check_dataset(values["data_path"], options) if "data_path" in given else DatasetSummary("", "messages", 0, "")
    )
    run = RunDirectory(directory)
    run.logs.mkdir(parents=True, exist_ok=True)
    return Job(
        algorithm=algorithm,
        backend=backend,
        parameters=JobParameters(values),
        arguments=arguments or {},
        dataset=options,
        data=rows,
        eval_data=None,
        directory=run,
        data_directory=data_directory(values),
        resume_from=None,
        rank_callbacks={"callbacks": [], "errors": "stop", "can": [], "backend": backend},
    )
