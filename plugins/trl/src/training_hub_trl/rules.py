"""What becomes of each hub parameter in TRL and PEFT, as tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, get_args

from training_hub.backends.batches import BatchPlan
from training_hub.backends.devices import Devices
from training_hub.backends.framework_arguments import fields_of
from training_hub.backends.schedules import schedule_problem
from training_hub.backends.translation import Rule, approximate, by_hub, exact, refused
from training_hub.errors import nearest
from training_hub.parameters import Parameters
from training_hub.trackers.config import PARAMETERS as TRACKERS
from training_hub.trackers.config import TOLD
from training_hub_trl.arguments import types

Settings = dict[str, tuple[Any, str]]


def rules(algorithm: str, plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    """The table of an algorithm, for a way to cut batches and the devices at hand."""
    own = {"sft": _sft, "osft": _osft, "lora_sft": _lora}[algorithm]
    return {**_common(plan, devices), **own(plan, devices)}


def settings(parameters: Parameters, plan: BatchPlan, devices: Devices) -> Settings:
    """Arguments that change the result and that no parameter asks for, each set on purpose."""
    gpu = devices.kind == "cuda"
    adapter = parameters.algorithm == "lora_sft"
    half = _computes_in_bf16(parameters, devices)
    packing = bool(parameters.get("sample_packing") or parameters.backend_kwargs.get("packing"))
    return {
        **({"SFTConfig.fsdp": (True, "as fsdp_options asks")} if parameters.get("fsdp_options") else {}),
        **({} if adapter else _without_parameters_of_their_own(plan, packing)),
        **_checkpointing(parameters, gpu),
        "from_pretrained.dtype": (
            "bfloat16" if adapter and half else "float32",
            "trained weights are held in float32; the frozen ones under an adapter in what is computed in",
        ),
        "from_pretrained.use_safetensors": (True, "a pickle can run code"),
        "SFTConfig.bf16": (half, "mixed precision where the GPU has it") if not adapter else (half, "as bf16 says"),
        "SFTConfig.use_cpu": (devices.kind == "cpu", str(devices)),
        "SFTConfig.max_length": (
            parameters["max_seq_len"] if packing else None,
            "rows are never truncated: the hub leaves out those that are too long",
        ),
        "SFTConfig.shuffle_dataset": (False, "the hub orders the rows, alike for any number of processes"),
        "SFTConfig.dataset_kwargs": ({"skip_prepare_dataset": True}, "the hub makes the tokens and labels"),
        "SFTConfig.dataloader_drop_last": (False, "every row is trained on"),
        "SFTConfig.dataloader_pin_memory": (gpu, "only a GPU gains by it"),
        "SFTConfig.average_tokens_across_devices": (
            True,
            "the loss is a mean over the effective batch's trained tokens",
        ),
        "SFTConfig.loss_type": ("nll", "cross-entropy"),
        "SFTConfig.optim": ("adamw_torch_fused" if gpu else "adamw_torch", "AdamW"),
        "SFTConfig.logging_strategy": ("steps", "events are written by steps"),
        "SFTConfig.logging_first_step": (True, "the first step shows whether training starts from where it should"),
        "SFTConfig.logging_nan_inf_filter": (False, "a NaN must be seen"),
        "SFTConfig.save_strategy": ("no", "the hub says when to save"),
        "SFTConfig.save_total_limit": (None, "the hub makes room, once a newer checkpoint is complete"),
        "SFTConfig.report_to": ([], "the hub tells the trackers, from the events"),
        "SFTConfig.disable_tqdm": (True, "progress is read from the events"),
        "SFTConfig.ddp_find_unused_parameters": (False, "every trained weight takes part in each step"),
    }


def _without_parameters_of_their_own(plan: BatchPlan, packing: bool) -> Settings:
    """What only `lora_sft` has parameters for."""
    return {
        "SFTConfig.logging_steps": (1, "an event a step"),
        "SFTConfig.per_device_eval_batch_size": (1 if packing else plan.micro_batch_size, "as in training"),
    }


def _checkpointing(parameters: Parameters, gpu: bool) -> Settings:
    # transformers 5.22 renamed it, and lets the new name win over the old one without a word.
    names = ("activation_checkpointing", "gradient_checkpointing")
    if any(name in parameters.backend_kwargs for name in names):
        return {}
    known = fields_of("transformers", "training_args.py", ("TrainingArguments",))
    name = next(name for name in names if name in known)
    return {f"SFTConfig.{name}": (gpu, "saves memory on a GPU for some time; the result is the same")}


def _common(plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    launched = by_hub(f"{plan.world_size} process{'es' if plan.world_size > 1 else ', the caller itself'}")
    return {
        "model_path": exact("from_pretrained.pretrained_model_name_or_path"),
        "data_path": by_hub("read, checked and turned into tokens and labels by the hub"),
        "ckpt_output_dir": exact("SFTConfig.output_dir"),
        "backend": by_hub("this one"),
        "overwrite_output_dir": by_hub("checked before the run"),
        "data_output_dir": by_hub("tokens and labels are kept there"),
        "trust_remote_code": exact("from_pretrained.trust_remote_code"),
        "seed": exact("SFTConfig.seed", note="and the hub's order of rows"),
        "num_epochs": exact("SFTConfig.num_train_epochs"),
        "effective_batch_size": exact(
            "SFTConfig.gradient_accumulation_steps",
            lambda p: plan.gradient_accumulation_steps,
            note=f"{plan.micro_batch_size} rows x {plan.gradient_accumulation_steps} forward passes x "
            f"{plan.world_size} processes = {plan.effective_batch_size}",
        ),
        "max_seq_len": by_hub("longer rows are left out, with a warning"),
        "max_tokens_per_gpu": exact(
            "SFTConfig.per_device_train_batch_size",
            lambda p: plan.micro_batch_size,
            note="as many of the longest rows as fit",
        ),
        "learning_rate": exact("SFTConfig.learning_rate"),
        "lr_scheduler": exact("SFTConfig.lr_scheduler_type"),
        "lr_scheduler_kwargs": exact(
            "SFTConfig.lr_scheduler_kwargs",
            refuse=lambda p: schedule_problem(p["lr_scheduler"], p["lr_scheduler_kwargs"]),
        ),
        "warmup_steps": exact("SFTConfig.warmup_steps"),
        "beta1": exact("SFTConfig.adam_beta1"),
        "beta2": exact("SFTConfig.adam_beta2"),
        "eps": exact("SFTConfig.adam_epsilon"),
        "weight_decay": exact("SFTConfig.weight_decay"),
        "max_grad_norm": exact("SFTConfig.max_grad_norm"),
        "use_liger": exact("SFTConfig.use_liger_kernel", refuse=_when("use_liger", lambda: _liger(devices))),
        "checkpoint_at_epoch": by_hub("a checkpoint at the end of each epoch"),
        "save_final_checkpoint": by_hub("the model is saved in `final`"),
        "keep_last_checkpoint_only": by_hub("an older checkpoint is deleted once a newer one is complete"),
        "validation_split": exact(
            "SFTConfig.eval_strategy",
            lambda p: _eval_strategy(p),
            note="rows drawn by seed, held out before training",
        ),
        "validation_frequency": exact("SFTConfig.eval_steps"),
        "save_best_val_loss": by_hub("a checkpoint when the validation loss improves, kept from deletion"),
        "val_loss_improvement_threshold": by_hub("least fall that counts"),
        "is_pretraining": by_hub("documents are cut in blocks, and every token is trained"),
        "block_size": by_hub("tokens in a block"),
        "document_column_name": by_hub("key of a document"),
        "nproc_per_node": launched,
        "nnodes": launched,
        "node_rank": by_hub("given to torchrun"),
        "rdzv_id": by_hub("given to torchrun"),
        "rdzv_endpoint": by_hub("given to torchrun"),
        "master_addr": by_hub("given to torchrun"),
        "master_port": by_hub("given to torchrun"),
        **dict.fromkeys(TRACKERS, by_hub(TOLD)),
        "callbacks": by_hub("called from the run's events; they can stop it, save, and set the learning rate"),
        "callback_errors": by_hub("stop or warn"),
        "resume": by_hub("weights, optimizer, schedule, order of rows and random state go on from a checkpoint"),
        "resume_changes": by_hub("what may differ from the run resumed"),
        "on_nan": by_hub("checked at each step that is logged"),
        "grace_seconds": by_hub("the processes are ended after it"),
        "hang_seconds": by_hub(
            "the processes are ended after it",
            refuse=_when(
                "hang_seconds",
                lambda: (
                    None if plan.world_size > 1 else "one process trains in the caller's own, which cannot be ended"
                ),
            ),
        ),
    }


def _sft(plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    return {
        "save_samples": by_hub(
            "a checkpoint at the first step that reaches each multiple of so many rows; 0 means not by rows"
        ),
        "accelerate_full_state_at_epoch": exact(
            "SFTConfig.save_only_model", lambda p: not p["accelerate_full_state_at_epoch"]
        ),
        "fsdp_options": approximate(
            "SFTConfig.fsdp_config",
            "PyTorch's FSDP2 through accelerate: resharding after the forward pass stands for the strategy",
            lambda p: _fsdp(p["fsdp_options"]) if p["fsdp_options"] else None,
            refuse=lambda p: _no_fsdp(p["fsdp_options"], devices) if p["fsdp_options"] else None,
        ),
    }


def _osft(plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    return {
        "unfreeze_rank_ratio": exact("OSF.unfreeze_rank_ratio", note="PEFT's effective_rank is what is preserved"),
        "target_patterns": exact("OSF.target_patterns"),
        "use_processed_dataset": by_hub("tokens and labels are taken from the rows"),
        "unmask_messages": by_hub("the turns of every role are trained"),
        "osft_memory_efficient_init": by_hub(
            "weights are decomposed one at a time in any case; the result is the same"
        ),
    }


def _lora(plan: BatchPlan, devices: Devices) -> dict[str, Rule]:
    quantised = ("load_in_4bit", "load_in_8bit")

    def bits(name: str) -> Rule:
        return exact(f"BitsAndBytesConfig.{name}", refuse=_when(name, lambda: _bitsandbytes(devices)))

    def four_bit(name: str) -> Rule:
        return exact(f"BitsAndBytesConfig.{name}", lambda p: p[name] if p["load_in_4bit"] else None)

    return {
        "lora_r": exact("LoraConfig.r"),
        "lora_alpha": exact("LoraConfig.lora_alpha"),
        "lora_dropout": exact("LoraConfig.lora_dropout"),
        "target_modules": exact(
            "LoraConfig.target_modules",
            lambda p: p["target_modules"] or "all-linear",
            refuse=lambda p: (
                "TRL computes the loss from the head's weight directly, so an adapter on lm_head would not be trained"
                if "lm_head" in (p["target_modules"] or ())
                else None
            ),
        ),
        "use_rslora": exact("LoraConfig.use_rslora"),
        "use_dora": exact("LoraConfig.use_dora"),
        "init_lora_weights": exact(
            "LoraConfig.init_lora_weights", refuse=lambda p: no_such_start(p["init_lora_weights"])
        ),
        "rank_pattern": exact("LoraConfig.rank_pattern"),
        "alpha_pattern": exact("LoraConfig.alpha_pattern"),
        "loftq_config": exact(
            "LoraConfig.loftq_config",
            refuse=lambda p: (
                "it is used only with init_lora_weights='loftq'"
                if p["loftq_config"] and p["init_lora_weights"] != "loftq"
                else None
            ),
        ),
        **{name: bits(name) for name in quantised},
        "bnb_4bit_quant_type": four_bit("bnb_4bit_quant_type"),
        "bnb_4bit_compute_dtype": four_bit("bnb_4bit_compute_dtype"),
        "bnb_4bit_use_double_quant": four_bit("bnb_4bit_use_double_quant"),
        "max_tokens_per_gpu": by_hub("bounds the micro-batch where micro_batch_size is not given"),
        "micro_batch_size": exact("SFTConfig.per_device_train_batch_size", lambda p: plan.micro_batch_size),
        "gradient_accumulation_steps": by_hub("part of the effective batch, see there"),
        "flash_attention": exact(
            "from_pretrained.attn_implementation",
            lambda p: "flash_attention_2" if p["flash_attention"] else "sdpa",
            note="by default PyTorch's own attention (SDPA)",
            refuse=_when("flash_attention", lambda: _flash(devices)),
        ),
        "sample_packing": approximate(
            "SFTConfig.packing",
            "rows stay apart and the loss of each is unchanged, but a packed sequence counts as one row of the "
            "effective batch",
        ),
        "bf16": by_hub("SFTConfig.bf16, by default where the GPU can"),
        "fp16": exact(
            "SFTConfig.fp16",
            refuse=_when("fp16", lambda: None if devices.kind == "cuda" else f"it needs a GPU, and there is {devices}"),
        ),
        "tf32": exact(
            "SFTConfig.tf32",
            refuse=_when("tf32", lambda: None if devices.kind == "cuda" else f"it needs a GPU, and there is {devices}"),
        ),
        "save_steps": by_hub("a checkpoint every so many steps"),
        "eval_steps": exact("SFTConfig.eval_steps", lambda p: p["eval_steps"] or p["validation_frequency"]),
        "validation_frequency": by_hub("the same as eval_steps"),
        "logging_steps": exact("SFTConfig.logging_steps"),
        "save_total_limit": by_hub("the oldest checkpoints are deleted; never the best one"),
        "save_model": by_hub("the adapter is saved in `final`"),
        "save_merged_model": by_hub("base and adapter are merged on the CPU and saved in `merged`"),
        "eval_data_path": by_hub("read like data_path"),
        "per_device_eval_batch_size": exact(
            "SFTConfig.per_device_eval_batch_size",
            lambda p: 1 if p["sample_packing"] else p["per_device_eval_batch_size"] or plan.micro_batch_size,
        ),
        "dataset_type": by_hub("how rows are read"),
        "field_messages": by_hub("how rows are read"),
        "field_instruction": by_hub("how rows are read"),
        "field_input": by_hub("how rows are read"),
        "field_output": by_hub("how rows are read"),
        "enable_model_splitting": exact(
            "from_pretrained.device_map",
            lambda p: "auto" if p["enable_model_splitting"] else None,
            refuse=_when("enable_model_splitting", lambda: _splitting(plan, devices)),
        ),
        "finetune_vision_layers": refused("only the language layers are adapted here; the unsloth backend adapts both"),
        "finetune_language_layers": refused("only the language layers are adapted here"),
    }


def _when(name: str, reason: Callable[[], str | None]) -> Callable[[Parameters], str | None]:
    """Refuse the parameter for a reason, where it is switched on."""
    return lambda parameters: reason() if parameters[name] else None


def no_such_start(name: bool | str) -> str | None:
    """Why an adapter cannot start so, or None."""
    if isinstance(name, bool) or re.fullmatch(r"pissa_niter_\d+", name):
        return None
    if name in ("eva", "corda", "lora_ga"):
        return "PEFT draws these weights from activations on rows, which is not done here"
    if name == "loftq":
        return None if find_spec("scipy") else "PEFT needs scipy for it: pip install scipy"
    kinds = get_args(types("lora_sft")["LoraConfig"]["init_lora_weights"])
    known = {choice for kind in kinds for choice in get_args(kind) if choice.isalpha()}
    return (
        None
        if name in known
        else f"PEFT knows no such start{nearest(name, known)}; there are {', '.join(sorted(known))}"
    )


def _liger(devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"Liger's kernels need a GPU, and there is {devices}"
    return None if find_spec("liger_kernel") else 'liger-kernel is not installed: pip install "training-hub-trl[liger]"'


def _bitsandbytes(devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"bitsandbytes needs a GPU, and there is {devices}"
    if not find_spec("bitsandbytes"):
        return 'bitsandbytes is not installed: pip install "training-hub-trl[quantised]"'
    return None


def _flash(devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"FlashAttention needs a GPU, and there is {devices}"
    return None if find_spec("flash_attn") else "flash-attn is not installed: pip install flash-attn"


def _splitting(plan: BatchPlan, devices: Devices) -> str | None:
    if plan.world_size > 1:
        return f"it is one process over several GPUs, and nproc_per_node x nnodes is {plan.world_size}"
    if devices.kind != "cuda" or devices.count < 2:
        return f"it needs several GPUs, and there is {devices}"
    return None


def _computes_in_bf16(parameters: Parameters, devices: Devices) -> bool:
    asked = parameters.get("bf16")
    if asked is None:
        return devices.kind == "cuda" and devices.bf16 and not parameters.get("fp16")
    return bool(asked)


def _eval_strategy(parameters: Mapping[str, Any]) -> str:
    if not (parameters["validation_split"] or parameters.get("eval_data_path")):
        return "no"
    return "steps" if parameters["validation_frequency"] or parameters.get("eval_steps") else "epoch"


def _no_fsdp(options: Mapping[str, Any], devices: Devices) -> str | None:
    if devices.kind != "cuda":
        return f"sharding needs GPUs, and there is {devices}"
    if options.get("sharding_strategy") in ("HYBRID_SHARD", "NO_SHARD"):
        return "FSDP2 shards over all processes: give FULL_SHARD or SHARD_GRAD_OP"
    return None


def _fsdp(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": 2,
        "reshard_after_forward": options.get("sharding_strategy") != "SHARD_GRAD_OP",
        "cpu_offload": bool(options.get("cpu_offload_params")),
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    }
