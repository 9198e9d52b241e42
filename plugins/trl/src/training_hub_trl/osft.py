"""OSFT on PEFT: weights split by SVD, and updates that stay out of the protected part of each weight.

Orthogonal Subspace Fine-Tuning (arXiv:2504.07097) writes each target weight as `W = W_high + W_low`, where `W_high`
holds the top singular directions. `W_high` is frozen, the factors of `W_low` are trained, and the change of the weight
has no part in the row or the column space of `W_high`. PEFT's OSF tuner brings the decomposition, the forward pass
and the projection of gradients. AdamW rescales every element on its own and so turns the update back into the
protected space; this module adds the projection after each step, and otherwise trains what mini-trainer trains:
every parameter that is not a target, and the biases of the targets, without any constraint.

PEFT replaces linear layers. What is none (stacks of experts, GPT-2's Conv1D), or has its weight read past the layer (by
kernels of state spaces), keeps its module, and its weight is computed from the factors (`Subspace`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate.optimizer import AcceleratedOptimizer
from peft import OSFConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.osf import OSFLayer
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from training_hub.plugin import ModelError, ParameterError, is_called, preserved_rank, target_weights

_ADAPTER = "default"


class Subspace(nn.Module):
    """Computes a weight, or a stack of them, from its frozen original and the factors that are trained.

    The same arithmetic as PEFT's for a layer, on the last two dimensions.
    """

    def __init__(self, weight: Tensor, preserved: int) -> None:
        """Args:
        weight: The original, of shape (..., m, n).
        preserved: How many singular directions of each matrix are protected.
        """
        super().__init__()
        left, scale, right = torch.linalg.svd(weight.detach(), full_matrices=False)
        rows, columns = weight.shape[-2:]
        self.U_low = nn.Parameter(left[..., preserved:].clone())
        self.S_low = nn.Parameter(scale[..., preserved:].clone())
        self.V_low = nn.Parameter(right[..., preserved:, :].clone())
        self.register_buffer("U_start", self.U_low.detach().clone())
        self.register_buffer("S_start", self.S_low.detach().clone())
        self.register_buffer("V_start", self.V_low.detach().clone())
        # As in PEFT: where a side is square, what is trained determines what is protected.
        self.register_buffer("U_high", left[..., :preserved].clone() if rows > columns else None)
        self.register_buffer("V_high", right[..., :preserved, :].clone() if columns > rows else None)
        self.U_low.register_hook(lambda grad: _outside(grad, self.U_start, self.U_high))
        self.V_low.register_hook(
            lambda grad: _outside(grad.mT, self.V_start.mT, None if self.V_high is None else self.V_high.mT).mT
        )

    def forward(self, original: Tensor) -> Tensor:
        # Mixed precision would round the change away, which is small beside the two products.
        with torch.autocast(original.device.type, enabled=False):
            return original + self.change()

    def change(self) -> Tensor:
        """What training has added to the original."""
        return (self.U_low * self.S_low[..., None, :]) @ self.V_low - (
            self.U_start * self.S_start[..., None, :]
        ) @ self.V_start


def _outside(change: Tensor, start: Tensor, high: Tensor | None) -> Tensor:
    """The part of a change (..., n, r) outside the protected subspace."""
    return start @ (start.mT @ change) if high is None else change - high @ (high.mT @ change)


def decompose(
    model: PreTrainedModel, unfreeze_rank_ratio: float, target_patterns: Sequence[str] | None = None
) -> PeftModel:
    """Split the target weights and return the model ready to train; `model` itself is changed.

    The SVD of each target runs in float32 on the device the weight is on, so move a large model to its GPU first.
    Trainable afterwards: the factors of `W_low`, and whatever was trainable before except the target weights
    themselves. Give the optimizer these, then call `keep_update_outside`. One process, or several with DDP; a sharded
    model (FSDP, DeepSpeed ZeRO-3) cannot be projected here.

    Args:
        model: a causal language model with float32 weights (mixed precision by autocast is fine).
        unfreeze_rank_ratio: share of each target's singular directions that is trained, the smallest ones first, from
            0 (a single direction is trained) to 1 (nothing is protected and the targets are trained as plain weights,
            as is any target so small that its share to protect rounds to no direction).
        target_patterns: see `target_weights`.

    Raises:
        ParameterError: the ratio is outside [0, 1], or a pattern matches nothing.
        ModelError: a target weight is not float32.
    """
    if not 0.0 <= unfreeze_rank_ratio <= 1.0:
        raise ParameterError(f"unfreeze_rank_ratio must be between 0 and 1, not {unfreeze_rank_ratio}")
    by_rank: dict[int, list[str]] = defaultdict(list)
    split: set[int] = set()
    beside: list[tuple[str, str, int]] = []
    for name in target_weights(model, target_patterns):
        weight = model.get_parameter(name)
        if weight.dtype != torch.float32:
            raise ModelError(f"OSFT needs float32 weights and {name} is {weight.dtype}: load with dtype=torch.float32")
        rank = preserved_rank(weight.shape, unfreeze_rank_ratio)
        if rank > 0:
            owner, _, own = name.rpartition(".")
            if is_called(model, owner, model.get_submodule(owner)):
                by_rank[rank].append(owner)
            else:
                beside.append((owner, own, rank))
            split.add(id(weight))
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in split]
    # Whole names: PEFT would take a list of names for endings, and match more than was asked for.
    patterns = {"|".join(map(re.escape, names)): rank for rank, names in by_rank.items()}
    config = OSFConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules="|".join(patterns) if patterns else DUMMY_TARGET_MODULES,
        rank_pattern={rf"\A(?:{pattern})\Z": rank for pattern, rank in patterns.items()},
    )
    wrapped = cast(PeftModel, get_peft_model(model, config, adapter_name=_ADAPTER))
    for parameter in trained:
        parameter.requires_grad_(True)
    for owner, own, rank in beside:
        module = model.get_submodule(owner)
        weight = module.get_parameter(own)
        parametrize.register_parametrization(module, own, Subspace(weight, rank), unsafe=True)
        weight.requires_grad_(False)
    return wrapped


def is_decomposed(model: object) -> bool:
    """Whether a model is the result of `decompose`."""
    return isinstance(model, PeftModel) and isinstance(model.peft_config.get(_ADAPTER), OSFConfig)


def keep_update_outside(optimizer: Optimizer, model: PeftModel) -> RemovableHandle:
    """From now on, put the factors of `model` back into the allowed subspace after every step of `optimizer`.

    Weight decay and AdamW's element-wise scaling are thereby free to do what they do. Processes of a DDP run all hold
    the same values and compute the same projection, so nothing has to be communicated.

    Args:
        optimizer: any torch optimizer, or accelerate's wrapper of one.
        model: the result of `decompose`.

    Returns:
        The handle of the hook; its `remove()` ends the projection.
    """
    # Accelerate's wrapper has no hooks of its own; the optimizer in it is the one that steps.
    inner = optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer
    layers = [layer for _, layer in _layers(model)]
    subspaces = [subspace for _, subspace in _subspaces(model)]

    @torch.no_grad()
    def project(*_: object) -> None:
        with full_precision():
            for layer in layers:
                factors = layer.osf_svd_params[_ADAPTER]
                # PEFT keeps the protected basis of a side only where the rest does not determine it.
                left = getattr(layer._osf_U_high, _ADAPTER, None)
                right = getattr(layer._osf_V_high, _ADAPTER, None)
                _project(factors["U_low"], layer._osf_U_low_init[_ADAPTER], left)
                # The singular vectors are the columns of U and the rows of V: transposed, one formula serves both.
                _project(factors["V_low"].T, layer._osf_V_low_init[_ADAPTER].T, None if right is None else right.T)
            for part in subspaces:
                _project(part.U_low, part.U_start, part.U_high)
                _project(part.V_low.mT, part.V_start.mT, None if part.V_high is None else part.V_high.mT)

    return cast(RemovableHandle, inner.register_step_post_hook(project))


@torch.no_grad()
def dense_state_dict(model: PeftModel) -> dict[str, Tensor]:
    """State of the plain model with the current update merged in, under the plain model's names and in its dtype.

    For `model.get_base_model().save_pretrained(directory, state_dict=dense_state_dict(model))`, whose result loads
    with transformers alone. Nothing in `model` changes, so it can be called in the middle of training. Merged weights
    are new tensors in main memory; all others are the live ones, tied ones still tied, as in `Module.state_dict`.
    """
    base = model.get_base_model()
    renamed: dict[str, str] = {}
    inner: set[str] = set()
    merged: dict[str, Tensor] = {}
    with full_precision():
        for name, layer in _layers(model):
            renamed |= {f"{name}.base_layer.{key}": f"{name}.{key}" for key in layer.base_layer.state_dict()}
            inner |= {f"{name}.{key}" for key in layer.state_dict()}
            weight = layer.base_layer.weight
            # A second copy of all targets would not fit beside the training of a large model on a GPU.
            merged[f"{name}.weight"] = (weight + layer.get_delta_weight(_ADAPTER)).to("cpu", weight.dtype)
        for name, part in _subspaces(model):
            prefix, _, own = name.partition(".parametrizations.")
            plain = f"{prefix}.{own.removesuffix('.0')}"
            original = f"{name.removesuffix('.0')}.original"
            renamed[original] = plain
            inner |= {f"{name}.{key}" for key in part.state_dict()}
            weight = base.get_parameter(original)
            merged[plain] = (weight + part.change()).to("cpu", weight.dtype)
    dense: dict[str, Tensor] = {}
    for key, tensor in base.state_dict().items():
        if key in renamed:
            dense[renamed[key]] = merged.get(renamed[key], tensor)
        elif key not in inner:
            dense[key] = tensor
    return dense


def protected_share(original: Tensor, trained: Tensor, preserved_rank: int) -> float:
    """Share of the change of a weight, by Frobenius norm, that lies in what OSFT has to protect; 0 is perfect.

    With `dW = trained - original` and `U`, `V` the top singular vectors of `original`, found here in float64:
    `max(|U U^T dW|, |dW V V^T|) / |dW|`. For judging a checkpoint against the model it came from, whichever backend
    trained it. Storage sets a floor: a float32 weight rounds at about 6e-8 of its norm, so the share of a change of
    1e-3 of the weight cannot be told from 6e-5, and bfloat16 is 65,000 times coarser.

    Args:
        original: weight before training, shape (out, in).
        trained: weight after training, same shape.
        preserved_rank: number of protected directions, see `preserved_rank`.
    """
    before = original.detach().to("cpu", torch.float64)
    change = trained.detach().to("cpu", torch.float64) - before
    total = torch.linalg.matrix_norm(change).item()
    if total == 0.0 or preserved_rank == 0:
        return 0.0
    left, _, right = torch.linalg.svd(before, full_matrices=False)
    # The basis is orthonormal, so the norm of the coefficients is the norm of the projection.
    by_column = torch.linalg.matrix_norm(left[:, :preserved_rank].T @ change).item()
    by_row = torch.linalg.matrix_norm(change @ right[:preserved_rank].T).item()
    return float(max(by_column, by_row) / total)


def _layers(model: PeftModel) -> list[tuple[str, Any]]:
    """Split layers under the names they have in the plain model."""
    return [(name, module) for name, module in model.get_base_model().named_modules() if isinstance(module, OSFLayer)]


def _subspaces(model: PeftModel) -> list[tuple[str, Subspace]]:
    """Weights that are computed from their factors, under the names of what computes them."""
    return [(name, module) for name, module in model.get_base_model().named_modules() if isinstance(module, Subspace)]


def _project(factor: Tensor, start: Tensor, high: Tensor | None) -> None:
    """Take out of `factor` (..., n, r), in place, what training has put into the protected subspace.

    Only the change since `start` is projected: rounding is then relative to the change, which is small beside `factor`.
    `high` is the protected basis (n, k), and None where `start` spans the whole complement of it.
    """
    change = factor - start
    if high is not None:
        factor -= high @ (high.mT @ change)
        return
    # A float32 basis is orthonormal to 1e-6 only; 2P - P^2 in place of P squares that error, so it cannot add up.
    once = start @ (start.mT @ change)
    # Subtract what is outside instead of storing what is inside: a factor already in place is then not rounded again.
    factor -= change - 2 * once + start @ (start.mT @ once)


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32: the 10 bits of TF32, which the trainer may turn on, are too few here."""
    settings = [backend.matmul for backend in (torch.backends.cuda, torch.backends.mkldnn)]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
