"""Merges an adapter into its base, and holds what comes of it against what was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from training_hub.plugin import Job, TrainingFailedError, base_directory, precisions, revision
from training_hub_trl.osft import full_precision
from training_hub_trl.saving import save_dense

_TEXT = "Two and three make five."
"""What models are compared on."""
_DIFFERENCE = {torch.float32: 1e-4}
"""How far logits may lie apart, as a share of the largest, and at least of 1; by what is computed in."""
_ROUNDED = 5e-2
"""The same where that is coarser."""


def note_answer(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, job: Job) -> None:
    """Note what the model says that was trained, for `save_merged` to compare; one held in float32 alone is exact.

    Args:
        model: The model with the adapter.
        tokenizer: Its tokenizer.
        job: The job.
    """
    _noted(job).unlink(missing_ok=True)
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        return
    input_ids = _tokens(tokenizer, model)
    save_file({"input_ids": input_ids, "logits": _logits(model, input_ids)}, _noted(job))


def save_merged(
    job: Job,
    adapter: Path,
    directory: Path,
    load: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_pretrained,
) -> None:
    """Save the base model with the adapter merged in, with the shapes, names and precisions of the base.

    The base is loaded anew, in float32 where there is the memory: merging into rounded weights would lose more than it
    keeps. What is merged must say what was trained, where `note_answer` noted that, or base and adapter side by side.

    Args:
        job: The job.
        adapter: Where the adapter lies.
        directory: Where to save.
        load: Loads the base.

    Raises:
        TrainingFailedError: It says something else; the adapter is saved all the same.
    """
    path, version, trust = job.parameters["model_path"], revision(job), job.parameters["trust_remote_code"]
    base = base_directory(path, version)
    model = load(
        path,
        revision=version,
        dtype=_held_in(base),
        trust_remote_code=trust,
        device_map="cpu",
        use_safetensors=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(adapter, trust_remote_code=trust)
    adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    if _noted(job).exists():
        noted = load_file(_noted(job))
        input_ids, trained = noted["input_ids"], noted["logits"]
    else:
        input_ids = _tokens(tokenizer, adapted)
        trained = _logits(adapted, input_ids)
    merged: Any = adapted.merge_and_unload(safe_merge=True)
    merged.tie_weights()
    # What is merged into a base that is quantised itself is rounded like that.
    quantised = getattr(merged.config, "quantization_config", None)
    if not quantised:
        _compare(_logits(merged, input_ids), trained, merged.dtype, adapter)
    save_dense(merged, directory, None if quantised else merged.state_dict(), base)
    tokenizer.save_pretrained(directory)
    _noted(job).unlink(missing_ok=True)


def _noted(job: Job) -> Path:
    return job.directory.logs / "trained_logits.safetensors"


def _held_in(base: Path | None) -> torch.dtype | str:
    if base is None or not precisions(base):
        return "auto"
    # Twice as much in float32, and what is saved beside it.
    needed = 3 * sum(file.stat().st_size for file in base.glob("model*.safetensors"))
    return torch.float32 if needed < psutil.virtual_memory().available else "auto"


def _tokens(tokenizer: PreTrainedTokenizerBase, model: Any) -> Tensor:
    found = tokenizer(_TEXT, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return found[:, :16].clamp(max=model.get_input_embeddings().weight.shape[0] - 1)


@torch.no_grad()
def _logits(model: Any, input_ids: Tensor) -> Tensor:
    training = model.training
    model.eval()
    try:
        with full_precision():
            found: Tensor = model(input_ids=input_ids.to(model.device), use_cache=False).logits
    finally:
        model.train(training)
    return found.float().cpu().contiguous()


def _compare(merged: Tensor, trained: Tensor, kind: torch.dtype, adapter: Path) -> None:
    apart = (merged - trained).abs().max().item()
    most = _DIFFERENCE.get(kind, _ROUNDED) * max(1.0, trained.abs().max().item())
    # Not a number is no less than another.
    if not apart <= most:
        raise TrainingFailedError(
            f"the adapter is in {adapter}, and merged into its base it is not what was trained: logits differ by "
            f"{apart:.3g}, where {most:.1g} would be rounding; load base and adapter side by side instead"
        )
