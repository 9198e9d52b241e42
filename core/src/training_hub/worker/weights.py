"""Whether a model's files hold every weight of it, told before any is loaded: what is missing would start at random.

transformers itself loads the names and shapes of the files, without their values, into a model that has none either.
Whatever it renames, fuses or ties on the way is thereby counted as it counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from training_hub.backends.job import Job
from training_hub.errors import ModelError
from training_hub.store.directory import read_json
from training_hub.store.events import EventLog
from training_hub.store.tensors import INDEX, WHOLE
from training_hub.worker.rank import local_rank
from training_hub.worker.rows import load_config, revision

SHOWN = 3
"""Names in a message."""
_AGAIN = "save the model again with save_pretrained, or copy it again"
_LAYER = re.compile(r"\.(\d+)\.")


def check_weights(job: Job) -> None:
    """Compare the weights that a job's model has with those in its safetensors files, in the first process of a node.

    A model that is quantised, or of its own code, is left to the framework that loads it.

    Args:
        job: The job, whose `model_path` is looked at.

    Raises:
        ModelNotFoundError: It has no config.
        ModelError: A weight is missing in the files, or has another shape there; or they hold layers that the config
            leaves out.
    """
    if local_rank():
        return
    config = load_config(job)
    trusted = job.parameters["trust_remote_code"]
    if getattr(config, "quantization_config", None) or (trusted and getattr(config, "auto_map", None)):
        return
    path = str(job.parameters["model_path"])
    if not (files := _files(path, revision=revision(job))):
        return
    try:
        found = _loaded(config, files)
    # That a model cannot be looked at in this way says nothing against it.
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        _warn(job, f"its weights could not be compared with its config: {said}")
        return
    if problem := _problem(config, found):
        raise ModelError(f"model_path={path}: {problem}")
    if elsewhere := found.missing - found.text:
        _warn(job, f"weights that text does not pass are not in its files, and are random: {_named(elsewhere)}")


def _warn(job: Job, message: str) -> None:
    EventLog(job.directory.events).emit("warning", message=f"model_path={job.parameters['model_path']}: {message}")


class _Loaded(NamedTuple):
    """What transformers says of loading, by the names of weights."""

    own: set[str]
    """All of the model's."""
    text: set[str]
    """Those among them that text passes."""
    missing: set[str]
    unexpected: set[str]
    """In the files, and not in the model."""
    mismatched: set[tuple[str, tuple[int, ...], tuple[int, ...]]]
    """With the shape in the files, and the model's."""


def _files(path: str, **options: Any) -> list[Path]:
    """The safetensors files that transformers loads; none where there are no such files."""
    if found := _file(path, WHOLE, **options):
        return [found]
    if not (found := _file(path, INDEX, **options)):
        return []
    shards = sorted(set(read_json(found)["weight_map"].values()))
    files = [_file(path, shard, **options) for shard in shards]
    return [file for file in files if file] if all(files) else []


def _file(path: str, name: str, **options: Any) -> Path | None:
    if Path(path).is_dir():
        return found if (found := Path(path) / name).exists() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with suppress(EntryNotFoundError):
        return Path(hf_hub_download(path, name, **options))
    return None


def empty_model(config: Any) -> Any:
    """The model of a configuration, with weights that have names and shapes and no values.

    Raises:
        ValueError: transformers has no model that writes text of this configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    with torch.device("meta"):
        try:
            return AutoModelForCausalLM.from_config(config)
        except ValueError:
            return AutoModelForImageTextToText.from_config(config)


def _loaded(config: Any, files: Iterable[Path]) -> _Loaded:
    with _quiet():
        empty = empty_model(config)
        model, found = type(empty).from_pretrained(
            None,
            config=empty.config,
            state_dict=dict(_without_values(files)),
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return _Loaded(
        set(model.state_dict()),
        set(_of_text(model)),
        found["missing_keys"],
        found["unexpected_keys"],
        found["mismatched_keys"],
    )


def _of_text(model: Any) -> Iterator[str]:
    """Names of the weights without towers of other senses: some are saved without parts that nobody uses."""
    whole = model.config.get_text_config() is model.config
    parts = [model] if whole else [model.get_decoder(), model.get_output_embeddings()]
    inside = [f"{name}." if name else "" for name, module in model.named_modules() if module in parts]
    return (name for name in model.state_dict() if name.startswith(tuple(inside)))


def _without_values(files: Iterable[Path]) -> Iterator[tuple[str, Any]]:
    import torch
    from safetensors import safe_open

    for file in files:
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                yield name, torch.empty(weights.get_slice(name).get_shape(), device="meta")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers logs of loading, which it will log once more."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _problem(config: Any, found: _Loaded) -> str | None:
    count = len(found.own)
    if missing := found.missing & found.text:
        others = f" They hold {_named(found.unexpected)}, which it does not have." if found.unexpected else ""
        return (
            f"missing in its files, so that they would start at random: {len(missing)} of its {count} weights, "
            f"{_named(missing)}.{others} Either config.json is another model's, or the files are: {_AGAIN}"
        )
    if shapes := found.mismatched:
        said = [f"{name} ({_shape(there)} there, {_shape(wanted)} by config.json)" for name, there, wanted in shapes]
        return (
            f"of another shape in its files: {len(shapes)} of its {count} weights, {_named(said)}. Either "
            f"config.json is another model's, or the files are: {_AGAIN}"
        )
    if further := _further_layers(config, found.unexpected, found.own):
        return (
            f"its files hold layers that its config.json leaves out, and that would be lost: {_named(further)}. Mend "
            f"the number of layers in config.json, or {_AGAIN}"
        )
    return None


def _further_layers(config: Any, unexpected: set[str], own: set[str]) -> list[str]:
    """Those that belong to layers like the model's own, numbered on.

    Other weights that a model does without are not among them: towers of other senses, and layers that only predict
    further tokens, which have parts of their own.
    """
    if any(value for name, value in config.get_text_config().to_dict().items() if "nextn" in name or "mtp" in name):
        return []
    ends: dict[str, set[str]] = {}
    for name in own:
        for number in _LAYER.finditer(name):
            ends.setdefault(name[: number.start()], set()).add(name[number.end() :])
    layers: dict[tuple[str, str], list[str]] = {}
    for name in unexpected:
        of_layers = [number for number in _LAYER.finditer(name) if name[: number.start()] in ends]
        for number in of_layers[:1]:
            layers.setdefault((name[: number.start()], number[1]), []).append(name)
    return [
        name
        for (stack, number), names in layers.items()
        if not any(each.startswith(f"{stack}.{number}.") for each in own)
        and all(each.removeprefix(f"{stack}.{number}.") in ends[stack] for each in names)
        for name in names
    ]


def _shape(size: Iterable[int]) -> str:
    return " x ".join(map(str, size)) or "a number"


def _named(names: Collection[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {more} more" if more > 0 else "")
