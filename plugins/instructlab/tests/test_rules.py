"""The translation, against the framework's real argument classes and its real training script; nothing is trained."""

from __future__ import annotations

import ast
import logging
import math
import subprocess
import sys
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from training_hub import AlgorithmRegistry, create_algorithm, sft
from training_hub.plugin import (
    BackendUnavailableError,
    FrameworkSources,
    ParameterError,
    Translation,
    devices,
    read_events,
)
from training_hub.testing.jobs import make_job
from training_hub_instructlab.arguments import CONFIG, WITHHELD, accepted, types
from training_hub_instructlab.backend import InstructLabTrainingSFTBackend
from training_hub_instructlab.command import OPTIONS, SWITCHES, command
from training_hub_instructlab.rows import Rows
from training_hub_instructlab.rules import MAIN, SCHEDULERS
from training_hub_instructlab.worker import training_arguments

ELSEWHERE = (
    "data_path",
    "max_seq_len",
    "process_data",
    "data_process_num_cpu_procs",
    "chat_tmpl_path",
    "use_legacy_tmpl",
    "mock_data",
    "mock_data_len",
    "pretraining_config",
    "lora",
    "use_dolomite",
    "is_padding_free",
    "keep_last_checkpoint_only",
    "callbacks",
    "mlflow_tracking_uri",
    "mlflow_experiment_name",
    "mlflow_run_name",
    "wandb_project",
    "wandb_entity",
    "wandb_run_name",
    "tensorboard_log_dir",
    "on_demand_checkpointing",
)
"""Fields of `TrainingArgs` that the script needs not: the hub does it itself, or the framework ignores them."""


def translation(**given: Any) -> Translation:
    base = {"model_path": "model", "data_path": "rows.jsonl", "ckpt_output_dir": "out"}
    backend = InstructLabTrainingSFTBackend()
    backend.name = "instructlab-training"
    return backend.translate(AlgorithmRegistry.get_algorithm("sft").resolve(base | given))


def problems(**given: Any) -> str:
    return "\n".join(translation(**given).problems)


def real(rows: Rows | None = None, **given: Any) -> Any:
    """The framework's own arguments, made by its own class."""
    found = translation(**given)
    found.raise_for_refusals()
    return training_arguments(found.arguments["TrainingArgs"], rows or Rows((5,) * 20))


def options(**given: Any) -> list[str]:
    found = translation(**given)
    return command(real(**given), found.arguments.get(MAIN, {}))


def script() -> dict[str, ast.Call]:
    """Options of the framework's training script, by name."""
    spec = find_spec("instructlab")
    assert spec is not None and spec.submodule_search_locations
    tree = ast.parse((Path(next(iter(spec.submodule_search_locations))) / "training" / "main_ds.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "parser.add_argument"]
    return {ast.literal_eval(call.args[0])[2:]: call for call in calls}


def test_the_defaults_are_honoured_as_they_are() -> None:
    found = translation()
    assert found.problems == ()
    assert {item.how for item in found.items} <= {"exact", "hub", "unused"}
    assert len(found.items) == len(AlgorithmRegistry.get_algorithm("sft").declared())


def test_every_argument_is_one_that_the_framework_has() -> None:
    from instructlab.training import TrainingArgs

    given: dict[str, Any] = {"fsdp_options": {"sharding_strategy": "FULL_SHARD"}, "log_level": "DEBUG"}
    found = translation(**given, validation_split=0.1, validation_frequency=3, wandb_entity="us", mlflow_run_name="it")
    assert found.arguments["TrainingArgs"].keys() <= TrainingArgs.model_fields.keys()
    assert real(**given).fsdp_options.sharding_strategy.value == "FULL_SHARD"


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"max_tokens_per_gpu": 45000}, "max_batch_len", 45000),
        ({"effective_batch_size": 7}, "effective_batch_size", 7),
        ({"num_epochs": 5}, "num_epochs", 5),
        ({"learning_rate": 3e-4}, "learning_rate", 3e-4),
        ({"warmup_steps": 9}, "warmup_steps", 9),
        ({"seed": 5}, "random_seed", 5),
        ({"beta1": 0.5}, "adamw_betas", (0.5, 0.95)),
        ({"beta2": 0.5}, "adamw_betas", (0.9, 0.5)),
        ({"eps": 1e-6}, "adamw_eps", 1e-6),
        ({"weight_decay": 0.2}, "adamw_weight_decay", 0.2),
        ({"checkpoint_at_epoch": True}, "checkpoint_at_epoch", True),
        ({"accelerate_full_state_at_epoch": False}, "accelerate_full_state_at_epoch", False),
        ({"trust_remote_code": True}, "trust_remote_code", True),
        ({"is_pretraining": True, "block_size": 128}, "max_seq_len", 128),
        ({"data_output_dir": "elsewhere"}, "data_output_dir", "elsewhere"),
        ({"save_samples": 100}, "save_samples", 1),
        ({}, "process_data", False),
        ({}, "disable_flash_attn", True),
    ],
)
def test_a_parameter_reaches_the_frameworks_argument(given: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(real(**given), field) == value


def test_validation_once_an_epoch_unless_asked_otherwise() -> None:
    rows = Rows((5,) * 20, validation_tokens=6)
    assert real(rows, validation_split=0.1, effective_batch_size=6).validation_frequency == 4
    assert real(rows, validation_split=0.1, validation_frequency=3).validation_frequency == 3


def test_every_field_of_the_framework_is_given_to_its_script_or_left_out_on_purpose() -> None:
    from instructlab.training import TrainingArgs

    handled = {"data_output_dir", "adamw_betas", "distributed_backend", "fsdp_options", "deepspeed_options"}
    assert TrainingArgs.model_fields.keys() == {*OPTIONS, *SWITCHES, *ELSEWHERE, *handled}
    assert (
        WITHHELD.keys() - {"resume_from_checkpoint", "router_aux_loss_coef", "attn_implementation"}
        < TrainingArgs.model_fields.keys()
    )


def test_the_command_is_one_that_the_script_takes() -> None:
    known = script()
    given = options(
        validation_split=0.1,
        validation_frequency=2,
        checkpoint_at_epoch=True,
        lr_scheduler="linear",
        fsdp_options={"sharding_strategy": "SHARD_GRAD_OP", "cpu_offload_params": True},
        trust_remote_code=True,
        NEFTune_alpha=5.0,
    )
    assert {option.partition("=")[0][2:] for option in given} <= known.keys()
    for expected in ("--lr_scheduler=linear", "--fsdp_sharding_strategy=SHARD_GRAD_OP", "--cpu_offload_params_fsdp"):
        assert expected in given
    assert "--save_last" in options()


def test_the_schedulers_are_those_of_the_script() -> None:
    choices = next(k.value for k in script()["lr_scheduler"].keywords if k.arg == "choices")
    assert ast.literal_eval(choices) == list(SCHEDULERS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_grad_norm": 0.5}, "always scales gradients down to a norm of 1.0"),
        ({"lr_scheduler": "inverse_sqrt"}, "the framework knows linear, cosine"),
        ({"lr_scheduler_kwargs": {"num_cycles": 2}}, "no further arguments"),
        ({"use_liger": True}, "Liger's kernels need a GPU"),
        (
            {"adamw_betas": [0.9, 0.99]},
            "adamw_betas: the instructlab-training backend cannot honour it: give beta1 and beta2 instead",
        ),
        ({"is_padding_free": True}, "cannot honour it: the framework has the option and no longer"),
        ({"use_dolomite": True}, "cannot honour it: the framework has the option and no longer"),
        ({"log_level": "BOGUS"}, "log_level: expected 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'; got 'BOGUS'"),
        ({"distributed_backend": "fsdp2"}, "distributed_backend: expected 'fsdp' or 'deepspeed'; got 'fsdp2'"),
        ({"NEFTune_alpha": "x"}, "NEFTune_alpha: expected a number; got 'x'"),
        ({"NEFTune_alpha": True}, "NEFTune_alpha: expected a number; got True"),
        ({"disable_flash_attn": "no"}, "disable_flash_attn: expected true or false; got 'no'"),
        ({"deepspeed_options": 3}, "deepspeed_options: expected a mapping; got 3"),
        ({"deepspeed_options": {"save_samples": "x"}}, "deepspeed_options: save_samples: expected a whole number; got"),
        ({"custom_optimization_flg": True}, "neither a parameter of sft nor an argument"),
        ({"accelerate_full_state": True}, "did you mean 'accelerate_full_state_at_epoch'?"),
        ({"resume_from_checkpoint": "out"}, "cannot honour it: give resume instead"),
        ({"chat_tmpl_path": "x.py"}, "chat_template.jinja"),
        ({"lora": {"rank": 4}}, "adapters are trained by lora_sft"),
        ({"process_data": True}, "the hub makes the tokens"),
        ({"distributed_backend": "deepspeed"}, "deepspeed is not installed: pip install"),
        ({"deepspeed_options": {}}, "without distributed_backend='deepspeed'"),
        (
            {"distributed_backend": "deepspeed", "deepspeed_options": {"cpu_offload_optimiser": True}},
            "did you mean 'cpu_offload_optimizer'?",
        ),
        (
            {"nnodes": 2, "master_addr": "a", "fsdp_options": {"sharding_strategy": "HYBRID_SHARD"}},
            "never bring them together",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(given: dict[str, Any], said: str) -> None:
    assert said in problems(**given)


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_flash_attention_is_not_to_be_had_where_it_is_not_installed() -> None:
    assert "disable_flash_attn=False: flash-attn is not installed" in problems(disable_flash_attn=False)


def test_the_types_of_further_keywords_are_those_of_the_framework() -> None:
    from instructlab.training import DeepSpeedOptions, TrainingArgs

    def plain(annotation: Any) -> Any:
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return Literal[tuple(member.value for member in annotation)]
        return {DeepSpeedOptions: dict[str, Any]}.get(annotation, annotation)

    sources = FrameworkSources()
    owned = {item.argument.rpartition(".")[2] for item in translation().items}
    declared = AlgorithmRegistry.get_algorithm("sft").declared().keys()
    free = accepted(sources)["TrainingArgs"] - owned - declared - WITHHELD.keys()
    found = types(sources)
    assert {name: plain(TrainingArgs.model_fields[name].annotation) for name in free} == {n: found[n] for n in free}
    assert found["NEFTune_alpha"] is float
    deepspeed = sources.types_of("instructlab", CONFIG, ("DeepSpeedOptions",))
    assert {name: field.annotation for name, field in DeepSpeedOptions.model_fields.items()} == deepspeed
    assert not sources.unread


@pytest.mark.parametrize("given", [{"max_grad_norm": 1.0}, {"lr_scheduler": "constant"}, {"lr_scheduler_kwargs": None}])
def test_a_value_that_changes_nothing_is_never_refused(given: dict[str, Any]) -> None:
    assert not problems(**given)


def test_one_process_a_node_is_sharded_over_all_nodes() -> None:
    nodes = {"nnodes": 2, "master_addr": "a"}
    assert real(**nodes).fsdp_options.sharding_strategy.value == "FULL_SHARD"
    offloaded = real(**nodes, fsdp_options={"cpu_offload_params": True}).fsdp_options
    assert (offloaded.sharding_strategy.value, offloaded.cpu_offload_params) == ("FULL_SHARD", True)
    assert real().fsdp_options.sharding_strategy.value == "HYBRID_SHARD"


def test_deepspeeds_options_reach_the_script() -> None:
    from instructlab.training import TrainingArgs

    base = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "c", "data_output_dir": "o", "max_seq_len": 9}
    arguments = TrainingArgs(
        **base,
        max_batch_len=9,
        effective_batch_size=1,
        learning_rate=1,
        distributed_backend="deepspeed",
        deepspeed_options={"cpu_offload_optimizer": True, "cpu_offload_optimizer_ratio": 0.5, "save_samples": 3},
    )
    given = command(arguments, {})
    wanted = {
        "--distributed_training_framework=deepspeed",
        "--cpu_offload_optimizer",
        "--cpu_offload_optimizer_ratio=0.5",
        "--save_samples_ds=3",
    }
    assert wanted < set(given)
    assert {option.partition("=")[0][2:] for option in given} <= script().keys()


def test_the_frameworks_own_trackers_stay_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructlab.training.logger import setup_metric_logger

    from training_hub_instructlab import workarounds

    given = options(wandb_project="p", mlflow_tracking_uri="u", tensorboard_log_dir="t")
    assert not [option for option in given if "wandb" in option or "mlflow" in option or "tensorboard" in option]
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "x")
    workarounds.keep_its_trackers_off()
    setup_metric_logger(str(tmp_path))
    kinds = [type(handler).__name__ for handler in logging.getLogger("instructlab.training.metrics").handlers]
    assert kinds == ["AsyncStructuredHandler"]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_warned_of_where_that_is_asked_for(loss: float, tmp_path: Path) -> None:
    from training_hub_instructlab.loop import Loop

    arguments = {"TrainingArgs": {"ckpt_output_dir": "w"}}
    job = make_job(tmp_path, arguments=arguments, on_nan="warn", seed=1, effective_batch_size=2, num_epochs=2)
    loop = Loop(job, Rows((5,) * 5))
    loop.progress.done = 4
    loop.accelerator = SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{"lr": 1e-3}]))
    for loop.context.loss in (1.5, loss):
        loop.fire("on_pre_optimizer_step")
    [warning] = read_events(job.directory.events)
    assert (warning["event"], warning["step"]) == ("warning", 5)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1 + 1)).tolist()
    assert warning["message"].endswith(f": {order[2] + 1}, {order[3] + 1}")


def test_translation_is_the_same_twice_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert translation(nproc_per_node=2) == translation(nproc_per_node=2)
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_it_says_so_and_imports_nothing_heavy() -> None:
    if devices().kind == "cuda":
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailableError, match="needs an NVIDIA GPU, and there is .* backend 'trl' needs none"):
        create_algorithm("sft", backend_name="instructlab-training")
    code = (
        "import sys, training_hub; backend = training_hub.InstructLabTrainingSFTBackend()\n"
        "assert not backend.availability().available\n"
        "print(sorted({'torch', 'instructlab', 'transformers'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("release", ["0.15.3", "0.16.1", "0.17.0", "1.0.0"])
def test_an_unsupported_release_of_the_framework_is_named(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / f"instructlab_training-{release}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: instructlab-training\nVersion: {release}\n")
    monkeypatch.syspath_prepend(tmp_path)
    reason = InstructLabTrainingSFTBackend().availability().reason
    assert reason.startswith(f"instructlab-training {release} is installed, and training-hub-instructlab ")
    assert reason.endswith(" needs <0.17,>=0.16.2: pip install training-hub-instructlab")


def test_a_refused_keyword_stops_the_call_before_anything_is_written(
    cpu: None, model: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = {"model_path": model, "data_path": rows, "ckpt_output_dir": out, "backend": "instructlab-training"}
    with pytest.raises(ParameterError, match="max_grad_norm=0.1"):
        sft(**given, max_grad_norm=0.1)
    with pytest.raises(ParameterError, match="log_level: expected 'DEBUG'"):
        sft(**given, log_level="BOGUS")
    assert not out.exists()
