"""Puts a low-rank adapter on a model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from transformers import PreTrainedModel

from training_hub.plugin import Job, ParameterError, is_called, nearest
from training_hub_trl.construct import construct


def adapted(model: PreTrainedModel, job: Job) -> PeftModel:
    """The model with a new adapter.

    Raises:
        ParameterError: See `checked_adapter`.
    """
    settings = {name: value for name, value in job.arguments["LoraConfig"].items() if value is not None}
    if job.parameters["target_modules"] is None and "exclude_modules" not in settings and (left := _left_out(model)):
        settings["exclude_modules"] = left
    # PEFT draws the adapter's initial weights here.
    torch.manual_seed(job.parameters["seed"])
    config = construct(LoraConfig, {"task_type": "CAUSAL_LM", **settings})
    with checked_adapter(model, job):
        return get_peft_model(model, config)


def name_base(model: PeftModel, job: Job) -> None:
    """Have the saved adapter name its base so that it is found from anywhere: by absolute path, or by id and version.

    Args:
        model: The model with the adapter.
        job: Its job.
    """
    path = job.parameters["model_path"]
    here = Path(path).exists()
    for config in model.peft_config.values():
        config.base_model_name_or_path = str(Path(path).resolve()) if here else path
        config.revision = None if here else job.arguments["from_pretrained"].get("revision")


def _left_out(model: PreTrainedModel) -> list[str]:
    """Endings of the names of linear layers that are not to be adapted unless they are named.

    An adapter is seen by what calls a layer, and not by a kernel that takes its weight; a router gives no tensor.
    """
    named = ((name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    left = (name for name, module in named if not is_called(model, name, module))
    return sorted({".".join(name.split(".")[-2:]) for name in left if name != "lm_head"})


@contextmanager
def checked_adapter(model: PreTrainedModel, job: Job) -> Iterator[None]:
    """While PEFT puts an adapter on a model: refuse what cannot be trained, or not be saved as the model that it is.

    PEFT itself refuses a list of names only where none of them matches, and drops the others.

    Raises:
        ParameterError: PEFT refuses the adapter; or one of `target_modules`, or a key of `rank_pattern` or
            `alpha_pattern`, matches no layer; or the adapter would train a layer apart from one that it is tied to.
    """
    endings = sorted({name.rpartition(".")[2] for name, _ in model.named_modules() if name})
    values = job.parameters
    tied = _tied_layers(model)

    def matches_nothing(parameter: str, name: Any, names: list[str]) -> ParameterError:
        return ParameterError(
            f"{parameter}={values[parameter]!r}: no layer of {values['model_path']} that it could mean is named "
            f"{name!r}{nearest(str(name), names)}; there are {', '.join(names)}"
        )

    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        if "arget modules" in str(error):
            raise matches_nothing("target_modules", values["target_modules"], endings) from error
        raise ParameterError(f"PEFT refuses the adapter: {error}") from error
    layers = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    asked = values["target_modules"]
    for name in [] if isinstance(asked, str) else asked or []:
        if not any(f".{layer}".endswith(f".{name}") for layer in layers):
            raise matches_nothing("target_modules", name, endings)
    adapted = sorted({layer.rpartition(".")[2] for layer in layers})
    for parameter in ("rank_pattern", "alpha_pattern"):
        for pattern in values[parameter] or {}:
            # As PEFT's get_pattern_key.
            if not any(re.match(rf"(.*\.)?({pattern})$", layer) for layer in layers):
                raise matches_nothing(parameter, pattern, adapted)
    for group in tied:
        _check_tied(model, group, values["model_path"])


def _tied_layers(model: PreTrainedModel) -> list[list[str]]:
    """The names of layers that share a weight, as the embeddings and the head of many models do."""
    holders: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders[id(parameter)].append(name)
    return [names for names in holders.values() if len(names) > 1]


def _check_tied(model: PreTrainedModel, group: list[str], path: str) -> None:
    """Refuse an adapter that parts layers: what it trains could not be saved as the model that it is.

    Raises:
        ParameterError: It does.
    """
    layers = {name: model.get_submodule(name) for name in group}
    touched = [name for name, layer in layers.items() if isinstance(layer, (BaseTunerLayer, AuxiliaryTrainingWrapper))]
    copies = [layer.modules_to_save for layer in layers.values() if isinstance(layer, ModulesToSaveWrapper)]
    if not touched or (len(copies) == len(group) and len({id(copy["default"].weight) for copy in copies}) == 1):
        return
    first = layers[touched[0]]
    kinds = {BaseTunerLayer: "target_modules", ModulesToSaveWrapper: "modules_to_save"}
    parameter = next((name for kind, name in kinds.items() if isinstance(first, kind)), "trainable_token_indices")
    whole = group[0].rpartition(".")[2]
    raise ParameterError(
        f"{parameter}: {path} has one weight for {' and '.join(group)} (tie_word_embeddings), and an adapter on "
        f"{touched[0]} would part them; leave it out, or train both as one with modules_to_save=['{whole}'], "
        f"ensure_weight_tying=True"
    )
