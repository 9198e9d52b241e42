"""Translation against the frameworks' real argument classes, and what is refused."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from peft import LoraConfig
from transformers import BitsAndBytesConfig
from trl import SFTConfig

from training_hub import AlgorithmRegistry, LoRASFTAlgorithm, OSFTAlgorithm, SFTAlgorithm, lora_sft, osft, sft
from training_hub.backends import framework_arguments, installation
from training_hub.plugin import (
    BackendUnavailableError,
    DatasetError,
    FrameworkSources,
    ParameterError,
    TrainingFailedError,
    devices,
)
from training_hub_trl import settings
from training_hub_trl.arguments import types, withheld
from training_hub_trl.backend import TRLBackend

NEEDED = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}
ALGORITHMS = {SFTAlgorithm: {}, OSFTAlgorithm: {"unfreeze_rank_ratio": 0.25}, LoRASFTAlgorithm: {}}


def translated(algorithm=SFTAlgorithm, **values):
    return TRLBackend().translate(algorithm.resolve({**NEEDED, **ALGORITHMS[algorithm], **values}))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_arguments_are_those_of_the_real_classes(algorithm, tmp_path):
    arguments = translated(algorithm, ckpt_output_dir=tmp_path).arguments
    config = SFTConfig(**arguments["SFTConfig"])
    assert (config.learning_rate, config.adam_beta2) == (algorithm.declared()["learning_rate"].default, 0.95)
    assert config.max_length is None and not config.gradient_checkpointing and config.use_cpu
    if algorithm is LoRASFTAlgorithm:
        assert LoraConfig(**{k: v for k, v in arguments["LoraConfig"].items() if v is not None}).r == 16
        BitsAndBytesConfig(**arguments["BitsAndBytesConfig"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_translation_is_the_same_twice_and_is_plain_data(algorithm):
    once, twice = translated(algorithm), translated(algorithm)
    assert once == twice
    assert json.loads(json.dumps(once.arguments)) == once.arguments


def test_trackers_are_left_to_the_hub():
    found = translated(wandb_project="p", mlflow_tracking_uri="u", tensorboard_log_dir="t")
    assert not found.problems and found.arguments["SFTConfig"]["report_to"] == []
    assert not {"run_name", "project"} & found.arguments["SFTConfig"].keys()


def test_fields_read_from_source_are_those_of_the_classes():
    found = types("lora_sft", FrameworkSources())
    init = {field.name for field in dataclasses.fields(SFTConfig) if not field.name.startswith("_")}
    assert found["SFTConfig"].keys() == init
    own = {field.name for field in dataclasses.fields(LoraConfig)}
    assert {"r", "use_dora", "layers_to_transform"} <= found["LoraConfig"].keys() <= own


def test_the_frameworks_own_arguments_pass_and_are_seen_by_it(job):
    result = sft(**{**job, "num_epochs": 1}, neftune_noise_alpha=0.1, max_steps=2, gradient_checkpointing=True)
    assert result.trainer.args.neftune_noise_alpha == 0.1
    assert result.trainer.args.gradient_checkpointing
    assert result.model.is_gradient_checkpointing
    assert result.metrics["step"] == 2


@pytest.mark.parametrize(
    ("train", "asked", "said"),
    [
        (sft, {"learning_rat": 1e-3}, "did you mean 'learning_rate'"),
        (sft, {"gradient_checkpoint": True}, "did you mean 'gradient_checkpointing'"),
        (sft, {"per_device_train_batch_size": 2}, "batch is exact: give max_tokens_per_gpu"),
        (sft, {"use_liger": True}, "need a GPU"),
        (sft, {"fsdp_options": {"sharding_strategy": "FULL_SHARD"}}, "needs GPUs"),
        (sft, {"wandb_project": "p"}, r'wandb is not installed: pip install "training-hub\[wandb\]"'),
        (sft, {"optim": "adamw_nope"}, "optim='adamw_nope': transformers knows no such optimizer"),
        (lora_sft, {"load_in_4bit": True}, "bitsandbytes needs a GPU"),
        (lora_sft, {"load_in_8bit": True}, "bitsandbytes needs a GPU"),
        (lora_sft, {"flash_attention": True}, "FlashAttention needs a GPU"),
        (lora_sft, {"enable_model_splitting": True}, "several GPUs"),
        (lora_sft, {"finetune_vision_layers": True}, "the unsloth backend adapts both"),
        (lora_sft, {"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        (lora_sft, {"target_modules": ["nope"]}, "no layer of .* q_proj"),
        (lora_sft, {"target_modules": ["q_proj", "q_projj"]}, "named 'q_projj'.*did you mean 'q_proj'"),
        (lora_sft, {"rank_pattern": {"nope": 4}}, "rank_pattern=.*named 'nope'.*q_proj"),
        (
            lora_sft,
            {"target_modules": ["q_proj"], "alpha_pattern": {"v_proj": 4}},
            "named 'v_proj'.*; there are q_proj",
        ),
        (lora_sft, {"bias": "nope"}, "bias: expected .*lora_only.*nope"),
        (lora_sft, {"init_lora_weights": "gausian"}, "did you mean 'gaussian'"),
        (sft, {"max_steps": "2"}, "max_steps: expected .*; got '2'"),
        (sft, {"torch_compile": "no"}, "torch_compile: expected .*; got 'no'"),
        (sft, {"lr_scheduler_kwargs": {"num_cycls": 2}}, "did you mean 'num_cycles'"),
        (sft, {"lr_scheduler": "cosine_with_min_lr"}, "needs either min_lr or min_lr_rate"),
        (sft, {"lr_scheduler": "constant", "lr_scheduler_kwargs": {"a": 1}}, "it takes none"),
        (sft, {"hub_token": "secret"}, "kept in the run's manifest"),
        (sft, {"resume_from_checkpoint": "checkpoint-1"}, "give resume instead"),
        (sft, {"max_length": 8}, "give max_seq_len"),
        (sft, {"shuffle_dataset": True}, "the hub orders the rows"),
        (sft, {"save_steps": 1}, "see checkpoint_at_epoch"),
        (sft, {"fp16": True}, "it needs a GPU"),
        (sft, {"logging_strategy": "no"}, "events are written by steps"),
        (sft, {"max_steps": 0}, "max_steps=0: expected at least 1 step"),
        (sft, {"optim": "adamw_8bit"}, "optim='adamw_8bit': bitsandbytes needs a GPU"),
        (lora_sft, {"optim": "lomo"}, "lomo-optim is not installed: pip install lomo-optim"),
        (sft, {"optim": "adam_torch"}, "no such optimizer .did you mean 'adamw_torch'"),
        (sft, {"dataloader_num_workers": -1}, "at least 0"),
        (sft, {"dataloader_prefetch_factor": 2}, "give these, too"),
        (sft, {"lr_scheduler": "polynomial", "lr_scheduler_kwargs": {"lr_end": 0.1}}, "lr_end=0.1 is not below"),
        (sft, {"lr_scheduler": "polynomial", "learning_rate": 1e-7}, "lr_end=1e-07 is not below learning_rate=1e-07"),
        (sft, {"lr_scheduler_kwargs": {"num_cycles": "two"}}, "num_cycles: expected a number"),
        (sft, {"lr_scheduler": "reduce_lr_on_plateau"}, "goes by the validation loss"),
        (lora_sft, {"target_modules": ["all-linear"]}, "target_modules='all-linear'"),
        (lora_sft, {"target_modules": "*_proj"}, "a regular expression.*nothing to repeat"),
        (lora_sft, {"rank_pattern": {"q_proj": 0}}, "greater than 0; got 0 for 'q_proj'"),
        (lora_sft, {"loftq_config": {"loftq_bits": 4}}, "init_lora_weights='loftq'"),
        (osft, {"unfreeze_rank_ratio": 0.2, "target_patterns": ["nope"]}, "target_patterns: .*nope.*q_proj"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_and_leaves_nothing(job, train, asked, said):
    with pytest.raises(ParameterError, match=said):
        train(**{**job, **asked})
    assert not job["ckpt_output_dir"].exists()


def test_what_is_no_callback_is_refused(job):
    with pytest.raises(ParameterError, match="callbacks: expected a list of TrainingHubCallback"):
        sft(**job, callbacks=print)


def test_what_is_withheld_are_arguments_of_the_framework():
    assert withheld(devices()).keys() <= types("sft", FrameworkSources())["SFTConfig"].keys()


@pytest.fixture
def moved(monkeypatch):
    """As if a framework's next release had moved one of its source files."""
    read = framework_arguments._source
    cached = (framework_arguments.types_of, framework_arguments.parameters_of, framework_arguments.keys_of)

    def move(lost):
        def source(package, file):
            if file == lost:
                raise framework_arguments.UnreadableSourceError(f"{package} 99: it has no {file}")
            return read(package, file)

        monkeypatch.setattr(framework_arguments, "_source", source)
        forget()

    def forget():
        for function in cached:
            function.cache_clear()

    yield move
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("file", "train", "own"),
    [
        ("training_args.py", sft, {"neftune_noise_alpha": 0.1, "max_steps": 2}),
        ("trainer/sft_config.py", sft, {"max_steps": 2}),
        ("tuners/lora/config.py", lora_sft, {"init_lora_weights": "gaussian", "max_steps": 2}),
    ],
)
def test_a_source_file_that_moved_costs_the_check_of_further_keywords_alone(job, moved, events, file, train, own):
    moved(file)
    found = TRLBackend().translate(AlgorithmRegistry.get_algorithm(train.__name__).resolve({**job, **own}))
    assert not found.problems
    result = train(**job, **own)
    assert result.metrics["step"] == 2
    [warning] = [w["message"] for w in events(result.run_dir, "warning")]
    assert file in warning and "further keywords are not checked" in warning


def test_a_start_of_adapters_is_judged_by_peft_where_its_source_moved(job, moved):
    moved("tuners/lora/config.py")
    with pytest.raises(ParameterError, match="gausian"):
        lora_sft(**job, init_lora_weights="gausian")
    assert not job["ckpt_output_dir"].exists()


@pytest.mark.parametrize(("version", "name"), [("5.17.0", "gradient"), ("5.24.1", "activation"), ("6.0", "activation")])
def test_checkpointing_has_the_name_that_the_release_knows(monkeypatch, version, name):
    monkeypatch.setattr(settings, "version", lambda _: version)
    arguments = translated().arguments["SFTConfig"]
    assert [key for key in arguments if key.endswith("_checkpointing")] == [f"{name}_checkpointing"]


@pytest.mark.parametrize(("name", "found"), [("trl", "2.0.0"), ("peft", "0.10.0")])
def test_a_package_outside_the_supported_range_is_named_with_both_versions(monkeypatch, name, found):
    real = metadata.version
    monkeypatch.setattr(installation, "version", lambda asked: found if asked == name else real(asked))
    reason = TRLBackend().availability().reason
    assert f"{name} {found} is installed, and training-hub-trl" in reason and "needs" in reason


def test_more_processes_than_devices_are_refused(job):
    with pytest.raises(BackendUnavailableError, match="nproc_per_node=512"):
        sft(**job, nproc_per_node=512)


def test_a_row_that_only_the_template_can_refuse_is_named_and_leaves_an_earlier_run(job, tmp_path):
    first = sft(**{**job, "num_epochs": 1})
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    row = json.loads(job["data_path"].read_text().splitlines()[0]) | {"tools": tools}
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(row) + "\n")
    for processes in (1, 2):
        with pytest.raises(DatasetError, match=r"bad\.jsonl:1.*tools"):
            sft(**{**job, "data_path": bad, "overwrite_output_dir": True, "nproc_per_node": processes})
        assert first.checkpoint.exists()
        assert json.loads((job["ckpt_output_dir"] / "run.json").read_text())["state"] == "completed"


def test_a_failing_worker_reports_its_rank_and_cause(job):
    with pytest.raises(TrainingFailedError, match=r"rank \d failed: .*nope.json") as raised:
        sft(**job, nproc_per_node=2, accelerator_config="nope.json")
    assert "processes.log" in str(raised.value)
    manifest = json.loads((job["ckpt_output_dir"] / "run.json").read_text())
    assert manifest["state"] == "failed" and "nope.json" in manifest["cause"]


def test_the_backend_is_found_by_its_entry_point():
    for algorithm in ("sft", "osft", "lora_sft"):
        assert AlgorithmRegistry.get_backend(algorithm, "trl") is TRLBackend
        assert "trl" in AlgorithmRegistry.list_backends(algorithm)


def test_what_a_scheduler_left_behind_has_no_run_wait_for_others(job):
    """In a process of its own: accelerate looks at the variables once."""
    left = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29617"}
    values = {name: str(value) if isinstance(value, Path) else value for name, value in job.items()}
    script = f"from training_hub import sft; print(sft(**{values | {'num_epochs': 1}!r}).state)"
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, env=os.environ | left, capture_output=True, text=True, timeout=200, check=False)
    assert ended.stdout.endswith("completed\n"), ended.stderr


def test_within_kubeflow_the_hub_alone_tells_of_the_run(job, monkeypatch):
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", "http://nowhere")
    trainer = sft(**job | {"num_epochs": 1}).trainer
    assert [kind for kind in map(type, trainer.callback_handler.callbacks) if "Kubeflow" in kind.__name__] == []
