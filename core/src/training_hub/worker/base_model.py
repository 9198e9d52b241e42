"""Makes a result like the model that it was trained from: weights of the same names and precisions, the same settings.

Frameworks save what they hold: float32, a cache that is switched off, the token ids of the tokenizer. A base model says
in its own files how it is to be loaded and to generate, and training changes none of that.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from training_hub.store.directory import write_json
from training_hub.store.tensors import INDEX, StoredTensor, stored_tensors
from training_hub.worker.weights import empty_model

_CONFIG = "config.json"
_GENERATION = "generation_config.json"
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
"""What makes tensors of images and sound, and puts them together with text."""
_FRAMEWORKS_CHANGE = ("use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "output_router_logits")
"""Settings that frameworks write over for training, in a configuration that is not the base's own."""
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Precisions that training changes, by the format's names and PyTorch's."""


def base_directory(model_path: str, revision: str = "main") -> Path | None:
    """Where the files of a base model lie on this machine; None where they are not to be had.

    Args:
        model_path: Its directory, or its id on the Hugging Face Hub, whose small files are then fetched if need be.
        revision: Its version on the hub.
    """
    if Path(model_path).is_dir():
        return Path(model_path)
    if model_path.count("/") != 1:
        return None
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        return None
    found = None
    for name in (_CONFIG, _GENERATION, *_PROCESSOR):
        try:
            found = Path(hf_hub_download(model_path, name, revision=revision)).parent
        # It has no such file, or none in the cache while there is no way to the hub.
        except (OSError, ValueError):
            continue
    return found


def precisions(base: Path) -> dict[str, str]:
    """The precision that each weight is saved in, by PyTorch's names; empty where a model is quantised.

    What trains it holds other numbers than those in the files.
    """
    if _quantised(_read(base / _CONFIG)):
        return {}
    return {name: _FLOATS[tensor.dtype] for name, tensor in stored_tensors(base).items() if tensor.dtype in _FLOATS}


def like_base(written: Path, base: Path, buffers: Collection[str] = (), *, dtype: str | None = None) -> None:
    """Make a model that was saved like its base. Its weights are in their place by then, and stay loadable throughout.

    Weights get the base's precision, and what is only another name of one of them goes. config.json is the base's,
    unless one of both is quantised, or weights have other shapes: then it is given back what frameworks change for
    training. generation_config.json and the files of the processor are the base's.

    Args:
        written: A directory as transformers' `save_pretrained` would write it.
        base: That of the model which training started from.
        buffers: Names of the live model's buffers, where a framework saves those, too, that a model computes by itself:
            of what the base has none of, none is kept.
        dtype: The precision that somebody asked the framework to save in, by PyTorch's name, in place of the base's.
    """
    before, config = stored_tensors(base), _read(base / _CONFIG)
    if not config:
        return
    quantised = _quantised(config) or _quantised(_read(written / _CONFIG))
    if not quantised:
        _name_as(before, base, written, buffers)
    if not _quantised(config):
        _mend_weights(written, before, buffers, cast=dtype is None)
    same = not quantised and _same_shapes(before, stored_tensors(written))
    _mend_config(written, base, config, take_over=same)
    if dtype is not None:
        _say_precision(written / _CONFIG, dtype)
    _take_over(_GENERATION, base, written)
    # A configuration that names code of the model's own is of use only beside that.
    code = [file.name for file in base.glob("*.py")] if config.get("auto_map") else []
    whole = _read(written / _CONFIG).get("model_type") == config.get("model_type")
    for name in (*_PROCESSOR, *code) if whole else ():
        if (base / name).exists():
            shutil.copyfile(base / name, written / name)


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _quantised(config: Mapping[str, Any]) -> bool:
    return any(part.get("quantization_config") for part in (config, config.get("text_config") or {}))


def _same_shapes(before: Mapping[str, StoredTensor], after: Mapping[str, StoredTensor]) -> bool:
    return all(before[name].shape == tensor.shape for name, tensor in after.items() if name in before)


def _take_over(name: str, base: Path, written: Path) -> None:
    if (base / name).exists():
        shutil.copyfile(base / name, written / name)
    else:
        (written / name).unlink(missing_ok=True)


def _mend_config(written: Path, base: Path, config: Mapping[str, Any], *, take_over: bool) -> None:
    saved = _read(written / _CONFIG)
    if saved.get("model_type", config.get("model_type")) == config.get("model_type"):
        if take_over:
            _take_over(_CONFIG, base, written)
            return
        parts = [(saved, config)]
        if saved.get("text_config") and config.get("text_config"):
            parts.append((saved["text_config"], config["text_config"]))
    else:
        # Of a model that also sees, its language part alone; what a framework does not say, transformers knows.
        saved = {name: value for name, value in saved.items() if (name, value) != ("architectures", None)}
        parts = [(saved, config.get("text_config") or config)]
    if not _quantised(config) and (dtype := config.get("dtype") or config.get("torch_dtype")):
        saved["dtype"] = dtype
    for part, original in parts:
        for name in _FRAMEWORKS_CHANGE:
            part.pop(name, None)
            if name in original:
                part[name] = original[name]
    write_json(written / _CONFIG, saved)


def _say_precision(file: Path, dtype: str) -> None:
    config = _read(file)
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        for name in {"dtype", "torch_dtype"} & part.keys():
            part[name] = dtype
    if "torch_dtype" not in config:
        config["dtype"] = dtype
    write_json(file, config)


def _name_as(before: Mapping[str, StoredTensor], base: Path, written: Path, buffers: Collection[str]) -> None:
    """Give the weights the base's names, where transformers holds them under others, such as experts in one stack.

    Frameworks that save by themselves save what is held.
    """
    after = stored_tensors(written)
    own = {name for name in after if name not in buffers or name in before}
    part = _read(written / _CONFIG).get("model_type") != _read(base / _CONFIG).get("model_type")
    if not before or part or _tied_aside(own) <= _tied_aside(before):
        return
    from safetensors.torch import load_file
    from transformers import AutoConfig

    try:
        empty = empty_model(AutoConfig.from_pretrained(base))
    except (ValueError, OSError):
        return  # of another class, or of its own code: its names are the framework's affair
    files = {tensor.file for tensor in after.values()}
    held = {name: tensor for file in files for name, tensor in load_file(file).items() if name in own}
    with TemporaryDirectory(dir=written) as place:
        empty.save_pretrained(place, state_dict=held)
        named = stored_tensors(Path(place))
        if not _tied_aside(named) <= _tied_aside(before):
            return
        new = {tensor.file for tensor in named.values()}
        for file in new:
            file.replace(written / file.name)
        for file in files - {written / file.name for file in new}:
            file.unlink()
        if (Path(place) / INDEX).exists():
            (Path(place) / INDEX).replace(written / INDEX)
        else:
            (written / INDEX).unlink(missing_ok=True)


def _tied_aside(names: Iterable[str]) -> set[str]:
    """Names of weights but for that which may be the embeddings'."""
    return {name for name in names if not name.endswith("lm_head.weight")}


def _mend_weights(written: Path, before: Mapping[str, StoredTensor], buffers: Collection[str], *, cast: bool) -> None:
    after = stored_tensors(written)
    floats = Counter(tensor.dtype for tensor in before.values() if tensor.dtype in _FLOATS)
    if not floats:
        return
    [(usual, _)] = floats.most_common(1)
    casts = {
        name: wanted
        for name, tensor in after.items()
        if cast
        and tensor.dtype in _FLOATS
        and (wanted := before[name].dtype if name in before else usual) in _FLOATS
        and wanted != tensor.dtype
    }
    kinds = {_kind(name) for name in before}
    superfluous = {name for name in buffers if name in after and _kind(name) not in kinds}
    superfluous |= _second_names(before, after)
    for file in sorted({after[name].file for name in (*casts, *superfluous)}):
        _rewrite(file, casts, superfluous)
    if superfluous and (written / INDEX).exists():
        _forget(written, superfluous)


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _second_names(before: Mapping[str, StoredTensor], after: Mapping[str, StoredTensor]) -> set[str]:
    """Names that the base has not, of matrices that it has under another one: those that are tied."""
    # A model's language part alone has other names in front.
    endings = {name.rpartition("language_model.")[2].removeprefix("model.") for name in before}
    known = [name for name in after if name.removeprefix("model.") in endings]
    found = set()
    for name in after.keys() - set(known):
        same = [other for other in known if after[other].shape == after[name].shape and len(after[name].shape) > 1]
        if not same:
            continue
        from safetensors import safe_open

        with safe_open(after[name].file, framework="pt") as weights:
            own = weights.get_tensor(name)
        for other in same:
            with safe_open(after[other].file, framework="pt") as weights:
                if own.any() and own.equal(weights.get_tensor(other)):
                    found.add(name)
                    break
    return found


def _rewrite(file: Path, casts: Mapping[str, str], left_out: set[str]) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as weights:
        metadata = weights.metadata()
        kept = {name: weights.get_tensor(name) for name in weights.keys() if name not in left_out}  # noqa: SIM118
    kept = {
        name: tensor.to(getattr(torch, _FLOATS[casts[name]])) if name in casts else tensor
        for name, tensor in kept.items()
    }
    partial = file.with_suffix(".partial")
    try:
        save_file(kept, partial, metadata=metadata)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _forget(written: Path, names: set[str]) -> None:
    index = _read(written / INDEX)
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if name not in names}
    write_json(written / INDEX, index)
