"""The base model as its files say, before anything of it is loaded."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from training_hub.errors import ModelError, ModelNotFoundError
from training_hub.preflight.weight_names import names_problem
from training_hub.store.tensors import INDEX, raw_header, weight_files

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_JSON_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")


@dataclass(frozen=True)
class ModelSummary:
    """What is known of a model without loading it."""

    path: str
    local: bool
    """Whether it is a directory here, rather than an id on the Hugging Face Hub."""
    weight_bytes: int = 0
    chat_template: str | None = None
    """Text of the chat template, empty where there is none; None where that is not known before a download."""
    model_type: str = ""
    vocab_size: int | None = None
    """Tokens that it knows, where its config says so."""


def check_model(model_path: str) -> ModelSummary:
    """Check that a model directory has what training needs.

    A path that is no directory here, and has the form of a hub id, is left to the backend to resolve, unless the hub
    is switched off (HF_HUB_OFFLINE) and the model is not in the cache.

    Raises:
        ModelNotFoundError: There is nothing at the path.
        ModelError: Config, tokenizer or safetensors weights are missing, or broken; or the names of the weights are not
            those of the model that the config describes.
    """
    path = Path(model_path)
    if not path.exists():
        if _HUB_ID.fullmatch(model_path) and not model_path.startswith("."):
            return _on_hub(model_path)
        raise ModelNotFoundError(
            f"model_path={model_path}: there is no such directory; give the directory of a model, or its id on the "
            f"Hugging Face Hub, as in organisation/name"
        )
    if not path.is_dir():
        raise ModelError(f"model_path={model_path}: it is a file; give the directory that holds the model")
    if not any(path.iterdir()):
        raise ModelNotFoundError(f"model_path={model_path}: the directory is empty; {_expected()}")
    config = _json(path / "config.json", model_path)
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"model_path={model_path}: there is no tokenizer ({', '.join(_TOKENIZER_FILES)}); {_expected()}"
        )
    for name in _JSON_FILES:
        if (path / name).exists():
            _json(path / name, model_path)
    weights = _weights(path, model_path)
    if problem := names_problem(weights.names, config):
        raise ModelError(f"model_path={model_path}: {problem}")
    return ModelSummary(
        model_path,
        True,
        weights.size,
        _chat_template(path),
        str(config.get("model_type", "")),
        _vocab_size(config),
    )


def _vocab_size(config: dict[str, Any]) -> int | None:
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    return max((size for part in parts if type(size := part.get("vocab_size")) is int), default=None)


def _expected() -> str:
    return "a model directory holds config.json, a tokenizer and *.safetensors, as save_pretrained writes them"


def _json(path: Path, model_path: str) -> dict[str, Any]:
    if not path.exists():
        raise ModelError(f"model_path={model_path}: there is no {path.name}; {_expected()}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: this is no JSON: {error}; copy the model again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object; copy the model again")
    return content


class _Weights(NamedTuple):
    """The weights of a model as their files' headers list them."""

    size: int
    """Bytes of all files."""
    names: frozenset[str]
    """Names of the weights that are loaded; a directory may hold the same ones in another form besides."""


def _weights(path: Path, model_path: str) -> _Weights:
    index = path / INDEX
    if index.exists():
        weight_map = _json(index, model_path).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ModelError(f"{index}: there is no mapping weight_map in it; copy the model again")
        shards = {str(name) for name in weight_map.values()}
        missing = sorted(name for name in shards if not (path / name).exists())
        if missing:
            raise ModelError(
                f"model_path={model_path}: {len(missing)} of {len(shards)} weight files that {index.name} names are "
                f"missing, first {missing[0]}; copy the model again"
            )
    weights = list(path.glob("*.safetensors"))
    if not weights:
        pickled = [p.name for p in (*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth"))]
        unsafe = f"; {pickled[0]} is a pickle, which can run code: convert it to safetensors" if pickled else ""
        raise ModelError(f"model_path={model_path}: there are no *.safetensors weights{unsafe}; {_expected()}")
    if empty := [p.name for p in weights if not p.stat().st_size]:
        raise ModelError(f"model_path={model_path}: {empty[0]} is empty; copy the model again")
    names = {file: _names(file) for file in weights}
    return _Weights(
        sum(p.stat().st_size for p in weights),
        frozenset().union(*(names[file] for file in weight_files(path))),
    )


def _names(file: Path) -> frozenset[str]:
    """Check that a safetensors file has a header, and all the tensors that this lists; return their names."""
    present, raw = file.stat().st_size, raw_header(file)
    if raw is None:
        raise ModelError(f"{file}: this is no safetensors file, or one that was cut off; copy the model again")
    try:
        header = json.loads(raw)
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        needed = 8 + len(raw) + max(ends, default=0)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: the header of this safetensors file is broken; copy the model again") from error
    if present < needed:
        raise ModelError(f"{file}: it was cut off: {present} bytes of {needed} are there; copy the model again")
    return frozenset(header) - {"__metadata__"}


def _chat_template(path: Path) -> str:
    """All that the directory has by way of one; several, or their names, run together."""
    files = [path / "chat_template.jinja", path / "chat_template.json"]
    files += sorted((path / "additional_chat_templates").glob("*.jinja"))
    written = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    settings = path / "tokenizer_config.json"
    if settings.exists() and (inside := _json(settings, str(path)).get("chat_template")):
        written.append(str(inside))
    return "\n".join(written)


def _on_hub(model_id: str) -> ModelSummary:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", str(home / "hub"))).expanduser()
    if offline and not (cache / f"models--{model_id.replace('/', '--')}").exists():
        raise ModelNotFoundError(
            f"model_path={model_id}: there is no such directory here, and HF_HUB_OFFLINE keeps the hub from being "
            f"asked; give a directory, or download the model first: hf download {model_id}"
        )
    return ModelSummary(model_id, False)
