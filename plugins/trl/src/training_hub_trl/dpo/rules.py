"""What becomes of the parameters of `dpo` in TRL and PEFT, and of the frameworks' own arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from packaging.version import Version

from training_hub.plugin import BatchPlan, Devices, FrameworkSources, Parameters, Rule, by_hub, exact, nearest, refused
from training_hub_trl import lora_rules
from training_hub_trl.dpo.losses import SORTED, losses

_STARTS_ELSEWHERE = (
    "it changes the base weights, and the reference is the base without the adapter; give reference_model, which is "
    "loaded by itself"
)
_MOVES = "the reference that moves is in no checkpoint, so that a resumed run would learn something else"

WITHHELD: Mapping[str, str] = {
    **dict.fromkeys(("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"), _MOVES),
    **dict.fromkeys(("precompute_ref_log_probs", "precompute_ref_batch_size"), "give precompute_reference"),
    "padding_free": "TRL has switched it off, and pads all the same",
    "pad_token": "the tokenizer's own is used",
    "label_smoothing_factor": "it smooths the labels of tokens, which DPO has not; see label_smoothing",
    "neftune_noise_alpha": "the reference would get the noise, too",
    "router_aux_loss_coef": "TRL weighs the routers' balance by forward pass, so that it would depend on their number",
    "average_tokens_across_devices": "the loss is a mean over pairs",
    "bias": "biases of the base that are trained would be trained in the reference, too",
}
"""Arguments that are not to be given to `dpo` as further keywords, besides those of every algorithm."""

_OF_DIFFERENCES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
"""Losses that another f-divergence than the reverse Kullback-Leibler can be put in."""
_DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")


def rules(plan: BatchPlan, devices: Devices, sources: FrameworkSources) -> dict[str, Rule]:
    """The rules of `dpo` besides those of every algorithm, for TRL's arguments under the name of SFT's.

    Args:
        plan: How batches are cut.
        devices: What is at hand.
        sources: Reads what PEFT knows.
    """
    adapters = lora_rules.adapter(sources) | lora_rules.quantisation(devices)
    of_sft = lora_rules.micro_batches(plan, devices) | lora_rules.SAVING
    return {
        **of_sft,
        **{name: _with_lora(name, rule) for name, rule in (adapters | _adapter(adapters)).items()},
        "sample_packing": refused("DPOTrainer packs no pairs"),
        "max_seq_len": by_hub("pairs of which one sequence is longer are left out, with a warning"),
        "save_model": by_hub("the model, or the adapter, is saved in `final`"),
        "use_lora": by_hub("an adapter (PEFT), or all weights"),
        "beta": exact("SFTConfig.beta"),
        "loss_type": exact(
            "SFTConfig.loss_type",
            losses,
            note="a mean over the pairs of the effective batch; of sft over its chosen answers' tokens",
            refuse=lambda p: _sorts_part(p, plan),
        ),
        "loss_weights": exact("SFTConfig.loss_weights"),
        "label_smoothing": exact("SFTConfig.label_smoothing"),
        "reference_model": exact(
            "DPOTrainer.ref_model",
            note="by default the base model: under an adapter the base without it, beside full weights a copy of them",
        ),
        "precompute_reference": by_hub("the reference's log-probabilities are kept with the rows"),
        "eval_data_path": by_hub("read like data_path"),
        "per_device_eval_batch_size": exact(
            "SFTConfig.per_device_eval_batch_size", lambda p: p["per_device_eval_batch_size"] or plan.micro_batch_size
        ),
    }


def _with_lora(name: str, rule: Rule) -> Rule:
    """A rule of an adapter's parameter: nothing asks for it where all weights are trained."""
    value = rule.value or (lambda p: p[name])
    return replace(
        rule,
        value=lambda p: value(p) if p["use_lora"] else None,
        refuse=lambda p: rule.refuse(p) if rule.refuse and p["use_lora"] else None,
    )


def _adapter(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Rules that are stricter than those of `lora_sft`."""
    start = rules["init_lora_weights"]
    return {
        "init_lora_weights": replace(start, refuse=lambda p: (start.refuse and start.refuse(p)) or _other_start(p)),
        "lora_dropout": replace(rules["lora_dropout"], refuse=_no_dropout),
    }


def _other_start(parameters: Parameters) -> str | None:
    same = parameters["init_lora_weights"] in (True, False, "gaussian", "orthogonal")
    return None if same or parameters["reference_model"] else _STARTS_ELSEWHERE


def _no_dropout(parameters: Parameters) -> str | None:
    if not parameters["lora_dropout"] or parameters.backend_kwargs.get("disable_dropout") is False:
        return None
    return "DPOTrainer switches all dropout off, that of adapters included; disable_dropout=False leaves it on"


def _sorts_part(parameters: Parameters, plan: BatchPlan) -> str | None:
    sorts = [name for name in losses(parameters) if name in SORTED]
    if not sorts or (plan.world_size == 1 and plan.gradient_accumulation_steps == 1):
        return None
    return (
        f"{sorts[0]} sorts the pairs of a forward pass, which would be {plan.micro_batch_size} of the "
        f"{plan.effective_batch_size} of a step: train in one process, with micro_batch_size="
        f"{plan.effective_batch_size}"
    )


def problems(parameters: Parameters, devices: Devices, of_adapters: Set[str]) -> Iterator[str]:
    """What TRL would ignore, or refuse only once the model is loaded, of the frameworks' own arguments.

    Args:
        parameters: Those of the run, with further keywords.
        devices: What is at hand.
        of_adapters: Further keywords that are arguments of an adapter.
    """
    given, named = parameters.backend_kwargs, losses(parameters)

    def wrong(name: str, why: str) -> str:
        return f"{name}={given[name]!r}{parameters.source(name)}: {why}"

    if devices.kind != "cuda" and Version(installed := version("trl")) < Version("1.16"):
        yield (
            f"dpo: TRL {installed} has this loss as a kernel for GPUs alone, and there is {devices}: pip install "
            f"'trl>=1.16'"
        )
    if not parameters["use_lora"]:
        for name in of_adapters & given.keys():
            yield wrong(name, "it is an adapter's, and all weights are trained; give use_lora=True")
    alpha = given.get("ld_alpha")
    if isinstance(alpha, int | float) and not 0 <= alpha <= 1:
        yield wrong("ld_alpha", "expected a number from 0 to 1")
    if "discopop_tau" in given and "discopop" not in named:
        yield wrong("discopop_tau", f"only loss_type='discopop' heeds it, and it is {parameters['loss_type']!r}")
    divergence = given.get("f_divergence_type", "reverse_kl")
    if divergence not in _DIVERGENCES:
        known = ", ".join(_DIVERGENCES)
        yield wrong(
            "f_divergence_type", f"there is no such divergence{nearest(str(divergence), _DIVERGENCES)}; {known}"
        )
    elif divergence != "reverse_kl" and (others := [name for name in named if name not in _OF_DIFFERENCES]):
        yield wrong("f_divergence_type", f"the loss {others[0]} has none; {', '.join(_OF_DIFFERENCES)} have")
    if "f_alpha_divergence_coef" in given and divergence != "alpha_divergence":
        yield wrong("f_alpha_divergence_coef", "only f_divergence_type='alpha_divergence' heeds it")
    if given.get("use_weighting") and (unweighted := [name for name in named if name in (*SORTED, "sft")]):
        yield wrong("use_weighting", f"the loss {unweighted[0]} has no pairs that could be weighted")


SETTINGS: dict[str, tuple[Any, str]] = {
    "DPOConfig.max_length": (None, "pairs are never truncated: the hub leaves out those that are too long"),
    "DPOConfig.remove_unused_columns": (False, "the hub's rows say which of them only fill up"),
    "DPOConfig.disable_dropout": (True, "what is compared with the reference, which has none, has none"),
}
"""Arguments of DPOConfig that no parameter asks for, each set on purpose."""
