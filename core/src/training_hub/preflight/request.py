"""Everything about a request that can be checked before the first weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from training_hub.data import DatasetOptions, DatasetSummary, FormatChoice, check_dataset
from training_hub.data.prepare import check_length, validation_count
from training_hub.errors import DatasetError, ModelError, RequestError, UserError
from training_hub.parameters.resolution import Parameters
from training_hub.plugins import discovery
from training_hub.preflight.model import ModelSummary, check_model
from training_hub.preflight.resume import Resumption, resumption
from training_hub.store.directory import RunDirectory, check_writable, data_directory, node_directory, size
from training_hub.trackers.config import check_trackers

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A request that holds: the model, the rows and the output directory are there and fit together."""

    model: ModelSummary
    data: DatasetSummary
    eval_data: DatasetSummary | None
    directory: RunDirectory
    resumption: Resumption | None = None
    warnings: tuple[str, ...] = ()
    """What may go wrong later, for the reader of the run."""


def check_request(parameters: Parameters) -> Request:
    """Check model, rows, output directory and trackers. Nothing is written.

    Raises:
        UserError: What is wrong, where, and what mends it; a RequestError where several things are.
    """
    options = DatasetOptions.of(parameters)
    formats = discovery.formats_of(parameters.algorithm, parameters.row_formats)
    eval_path = parameters.get("eval_data_path")
    directory = RunDirectory(node_directory(parameters))
    problems: list[UserError] = []
    model = _found(problems, lambda: check_model(parameters["model_path"]))
    tokens = model.vocab_size if model else None
    data = _found(problems, lambda: check_dataset(parameters["data_path"], options, vocab_size=tokens, formats=formats))
    eval_data = (
        _found(
            problems,
            lambda: check_dataset(eval_path, options, parameter="eval_data_path", vocab_size=tokens, formats=formats),
        )
        if eval_path
        else None
    )
    _found(problems, lambda: check_length(parameters["max_seq_len"]))
    if data:
        _found(problems, lambda: validation_count(data.rows, parameters["validation_split"]))
    if model and data:
        _found(problems, lambda: _check_template(model, data, formats))
    resumed = _found(problems, lambda: resumption(parameters, directory))
    _found(
        problems,
        lambda: _check_directory(
            parameters, directory, model, resumed, {"data_path": data, "eval_data_path": eval_data}
        ),
    )
    if parameters["data_output_dir"]:
        _found(problems, lambda: check_writable("data_output_dir", data_directory(parameters)))
    _found(problems, lambda: check_trackers(discovery.trackers(), parameters))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise RequestError("\n".join(map(str, problems)))
    assert model and data
    warnings = (
        *_unread({"data_path": data, "eval_data_path": eval_data}),
        *_space_for_all(parameters, directory, model),
    )
    return Request(model, data, eval_data, directory, resumed, warnings)


def _found(problems: list[UserError], check: Callable[[], T]) -> T | None:
    """What a check finds; its error goes to the others, so that all are told at once."""
    try:
        return check()
    except UserError as error:
        problems.append(error)
        return None


def _check_template(model: ModelSummary, data: DatasetSummary, formats: FormatChoice) -> None:
    form = formats.named(data.format)
    if form is not None and form.conversation and model.chat_template == "":
        raise ModelError(
            f"model_path={model.path}: its tokenizer has no chat template, so the conversations in {data.path} cannot "
            f"be written as text; add a chat_template.jinja to the model's directory (an instruct model of the same "
            f"family has one), or give rows of prompt and completion"
        )
    if data.with_tools and model.chat_template and "tool" not in model.chat_template:
        raise DatasetError(
            f"{data.first_with_tools}: this row and {data.with_tools - 1} others of {data.rows} offer or call tools, "
            f"which the chat template of {model.path} does not write; put a template that does in its "
            f"chat_template.jinja (an instruct model of the same family may have one), or take tools out of the rows"
        )


def _check_directory(
    parameters: Parameters,
    directory: RunDirectory,
    model: ModelSummary | None,
    resumed: Resumption | None,
    rows: Mapping[str, DatasetSummary | None],
) -> None:
    first = parameters["node_rank"] == 0
    directory.check(
        overwrite=parameters["overwrite_output_dir"] or not first,
        model_path=Path(model.path) if model and model.local else None,
        needed_bytes=model.weight_bytes if model and first and not _adapter_only(parameters) else 0,
        # Where resume=True finds no checkpoint yet, what the earlier run left is replaced.
        resumed=parameters["resume"] is True or (resumed is not None and resumed.here),
    )
    for name, found in rows.items():
        if found is not None:
            directory.check_spares(name, Path(found.path))


def _unread(rows: Mapping[str, DatasetSummary | None]) -> Iterator[str]:
    """What the rows hold that is not looked at: mostly where they are from, but maybe a misspelt key."""
    for name, data in rows.items():
        if data is not None and data.unread:
            keys = ", ".join(map(repr, data.unread))
            yield f"{name}={data.path}: nothing reads the keys {keys} of its rows; they are not trained"


def _space_for_all(parameters: Parameters, directory: RunDirectory, model: ModelSummary) -> Iterator[str]:
    """Whether all checkpoints find room together; that they are kept is a choice, so this is no error."""
    once = parameters["keep_last_checkpoint_only"] or not parameters["checkpoint_at_epoch"]
    if parameters["node_rank"] or once or _is_lora(parameters):
        return
    count = parameters["num_epochs"] + parameters["save_final_checkpoint"]
    needed, free = count * model.weight_bytes, directory.free()
    if free < needed:
        yield (
            f"ckpt_output_dir={directory.path}: the disk has {size(free)} free, and the weights alone of {count} "
            f"checkpoints of this model take {size(needed)}; keep_last_checkpoint_only=True keeps the newest alone"
        )


def _is_lora(parameters: Parameters) -> bool:
    # An algorithm that trains either an adapter or all weights says which by `use_lora`.
    return bool(parameters.get("use_lora", "lora_r" in parameters))


def _adapter_only(parameters: Parameters) -> bool:
    return _is_lora(parameters) and not parameters["save_merged_model"]
