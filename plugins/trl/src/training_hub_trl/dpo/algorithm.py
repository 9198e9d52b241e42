"""Direct preference optimisation: its parameters, its checks and its figures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Interval
from typing_extensions import TypedDict

from training_hub.plugin import (
    LORA_CONTRADICTIONS,
    Adapter,
    Algorithm,
    Backend,
    Callbacks,
    Checkpoints,
    Continuity,
    Contradiction,
    Derived,
    Essentials,
    Execution,
    Figure,
    FilePath,
    MicroBatches,
    Optimizer,
    Param,
    Parameters,
    Quantisation,
    Saving,
    Schedule,
    Torchrun,
    Validation,
)
from training_hub_trl.dpo.losses import NATS, SMOOTHED, Loss, losses


class Preferences(TypedDict, total=False):
    """Preferences."""

    beta: Annotated[
        float,
        Gt(0),
        Param(0.1, "How strongly the model is held to the reference: the greater, the nearer it stays."),
    ]
    loss_type: Annotated[
        Loss | list[Loss],
        Param("sigmoid", "The loss, or several that are added; sigmoid is that of the DPO paper."),
    ]
    loss_weights: Annotated[
        list[Annotated[float, Gt(0)]] | None, Param(None, "The weight of each loss; by default 1 each.")
    ]
    label_smoothing: Annotated[
        float,
        Interval(ge=0, lt=0.5),
        Param(0.0, f"Share of pairs whose preference is taken to be wrong; only for {', '.join(SMOOTHED)}."),
    ]


class Reference(TypedDict, total=False):
    """Reference model."""

    reference_model: Annotated[
        FilePath | None,
        Param(None, "Directory or hub id of the model that the trained one is held to; by default that of model_path."),
    ]
    precompute_reference: Annotated[
        bool,
        Param(
            False, "Ask the reference about every pair once, before training, instead of in each step: saves memory."
        ),
    ]


class Weights(TypedDict, total=False):
    """What is trained."""

    use_lora: Annotated[bool, Param(False, "Train a low-rank adapter (LoRA) instead of all weights.")]


class Pairs(TypedDict, total=False):
    """Pairs."""

    eval_data_path: Annotated[FilePath | None, Param(None, "Pairs to validate on, instead of validation_split.")]
    per_device_eval_batch_size: Annotated[
        int | None, Ge(1), Param(None, "Pairs in one validation pass; by default as in training.")
    ]


class DPOParameters(
    Essentials,
    Preferences,
    Reference,
    Schedule,
    Optimizer,
    Weights,
    Adapter,
    Quantisation,
    MicroBatches,
    Execution,
    Checkpoints,
    Saving,
    Validation,
    Pairs,
    Torchrun,
    Callbacks,
    Continuity,
    total=False,
):
    """Parameters of `dpo`."""


_OF_ADAPTERS = (*Adapter.__annotations__, *Quantisation.__annotations__, "save_merged_model")


def _adapters_alone(values: Mapping[str, Any]) -> str | None:
    assert isinstance(values, Parameters)
    named = [name for name in _OF_ADAPTERS if values[name] != values.declared[name].default]
    if values["use_lora"] or not named:
        return None
    return f"{', '.join(named)} without use_lora: all weights are trained; give use_lora=True to train an adapter"


def _no_loss(values: Mapping[str, Any]) -> str | None:
    return None if losses(values) else "loss_type=[]: there is no loss in it; leave it out for the default"


def _weight_each(values: Mapping[str, Any]) -> str | None:
    weights, named = values.get("loss_weights"), losses(values)
    if weights is None or len(weights) == len(named):
        return None
    return f"loss_weights has {len(weights)} weights for {len(named)} losses ({', '.join(named)}): give one for each"


def _smooths_nothing(values: Mapping[str, Any]) -> str | None:
    if not values["label_smoothing"] or set(losses(values)) & set(SMOOTHED):
        return None
    return (
        f"label_smoothing with loss_type={values['loss_type']!r}: that loss does not heed it; give loss_type='robust', "
        f"which is the loss of DPO for labels that are wrong that often, or leave label_smoothing out"
    )


def _exo_needs_smoothing(values: Mapping[str, Any]) -> str | None:
    if "exo_pair" not in losses(values) or values["label_smoothing"]:
        return None
    return "loss_type='exo_pair' without label_smoothing: it takes the logarithm of it; its paper has 0.001"


def _holds_a_pair(values: Mapping[str, Any]) -> str | None:
    length, most = values["max_seq_len"], values["max_tokens_per_gpu"]
    if length > most or 2 * length <= most:  # the first is told of already
        return None
    return (
        f"max_seq_len={length} does not fit max_tokens_per_gpu={most}: a micro-batch must hold at least one pair, "
        f"which is two sequences; raise max_tokens_per_gpu to {2 * length} or lower max_seq_len"
    )


class DPOAlgorithm(Algorithm):
    """Direct preference optimisation (DPO, arXiv:2305.18290): learns which of two answers is the better one."""

    name: ClassVar[str] = "dpo"
    parameters: ClassVar[type] = DPOParameters
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 1,
        "learning_rate": Derived("1e-6, and 1e-5 with use_lora", lambda values: 1e-5 if values["use_lora"] else 1e-6),
        "max_tokens_per_gpu": Derived(
            "the greater of 8192 and twice max_seq_len", lambda values: max(8192, 2 * values["max_seq_len"])
        ),
    }
    contradictions: ClassVar[tuple[Contradiction, ...]] = (
        *LORA_CONTRADICTIONS,
        _adapters_alone,
        _no_loss,
        _weight_each,
        _smooths_nothing,
        _exo_needs_smoothing,
        _holds_a_pair,
    )
    recommended_backends: ClassVar[tuple[str, ...]] = ("trl",)
    row_formats: ClassVar[tuple[str, ...]] = ("preference",)
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("loss", "nats a pair", less_is_better=True),
        Figure("reward_margin", "nats", less_is_better=False),
        Figure("reward_accuracy", "share of pairs", less_is_better=False),
        Figure("reward_chosen", "nats"),
        Figure("reward_rejected", "nats"),
    )

    @classmethod
    def resolve(
        cls,
        given: Mapping[str, Any],
        origin: Mapping[str, str] | None = None,
        backend: type[Backend] | None = None,
    ) -> Parameters:
        found = super().resolve(given, origin, backend)
        if set(losses(found)) <= set(NATS):
            return found
        loss, *others = cls.figures
        return replace(found, figures=(replace(loss, unit="a pair"), *others))
