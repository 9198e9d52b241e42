"""Parameters are declared once, and everything that describes them follows."""

import inspect
import re
import typing

import pytest

from training_hub import Backend, LoRASFTAlgorithm, OSFTAlgorithm, SFTAlgorithm, lora_sft, osft, sft
from training_hub.algorithms.lora_sft import LoRAParameters
from training_hub.parameters import Derived
from training_hub.parameters.description import table
from training_hub.parameters.schema import json_schema
from training_hub.plugins.discovery import builtin_trackers

ALGORITHMS = [SFTAlgorithm, OSFTAlgorithm, LoRASFTAlgorithm]
FUNCTIONS = {SFTAlgorithm: sft, OSFTAlgorithm: osft, LoRASFTAlgorithm: lora_sft}

# Names that scripts for the older package of the same import name use.
OLDER = {
    SFTAlgorithm: "model_path data_path ckpt_output_dir backend num_epochs effective_batch_size learning_rate max_seq_len "
    "max_tokens_per_gpu data_output_dir save_samples warmup_steps accelerate_full_state_at_epoch checkpoint_at_epoch "
    "is_pretraining block_size document_column_name beta1 beta2 eps weight_decay nproc_per_node nnodes node_rank rdzv_id "
    "rdzv_endpoint master_addr master_port wandb_project wandb_entity wandb_run_name tensorboard_log_dir "
    "mlflow_tracking_uri mlflow_experiment_name mlflow_run_name callbacks",
    OSFTAlgorithm: "model_path data_path unfreeze_rank_ratio effective_batch_size max_tokens_per_gpu max_seq_len "
    "learning_rate ckpt_output_dir data_output_dir backend target_patterns seed use_liger use_processed_dataset "
    "unmask_messages is_pretraining block_size document_column_name lr_scheduler warmup_steps lr_scheduler_kwargs beta1 "
    "beta2 eps weight_decay checkpoint_at_epoch save_final_checkpoint num_epochs nproc_per_node nnodes node_rank rdzv_id "
    "rdzv_endpoint master_port master_addr wandb_project wandb_entity wandb_run_name tensorboard_log_dir "
    "mlflow_tracking_uri mlflow_experiment_name mlflow_run_name trust_remote_code callbacks",
    LoRASFTAlgorithm: "model_path data_path ckpt_output_dir backend lora_r lora_alpha lora_dropout target_modules "
    "num_epochs effective_batch_size micro_batch_size gradient_accumulation_steps learning_rate max_seq_len lr_scheduler "
    "warmup_steps load_in_4bit load_in_8bit bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_use_double_quant "
    "flash_attention sample_packing bf16 fp16 tf32 save_steps eval_steps logging_steps save_total_limit wandb_project "
    "wandb_entity wandb_run_name tensorboard_log_dir mlflow_tracking_uri mlflow_experiment_name mlflow_run_name "
    "dataset_type field_messages field_instruction field_input field_output nproc_per_node nnodes node_rank rdzv_id "
    "rdzv_endpoint master_addr master_port enable_model_splitting finetune_vision_layers finetune_language_layers "
    "trust_remote_code callbacks eval_data_path per_device_eval_batch_size",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scripts_for_the_older_package_find_every_parameter_name(algorithm):
    assert set(OLDER[algorithm].split()) <= algorithm.declared().keys()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signature_and_docstring_show_every_parameter_with_its_default(algorithm):
    function, declared = FUNCTIONS[algorithm], algorithm.declared()
    shown = inspect.signature(function).parameters
    assert [*shown][:-1] != [] and shown.keys() - {"backend_kwargs"} == declared.keys()
    for name, parameter in declared.items():
        # Long lines are wrapped.
        assert f" {name}: {parameter.help}" in " ".join(function.__doc__.split())
        if not parameter.required and not isinstance(parameter.default, Derived):
            assert shown[name].default == parameter.default


def test_required_and_optional_parameters_are_told_apart():
    backend = type("B", (Backend,), {"execute_training": lambda self, given: given})()
    assert SFTAlgorithm(backend).get_required_params().keys() == {"model_path", "data_path", "ckpt_output_dir"}
    assert OSFTAlgorithm(backend).get_required_params()["unfreeze_rank_ratio"] is float
    assert SFTAlgorithm(backend).get_optional_params()["num_epochs"] is int
    both = LoRASFTAlgorithm(backend).get_required_params() | LoRASFTAlgorithm(backend).get_optional_params()
    of_trackers = [name for tracker in builtin_trackers() for name in tracker.parameters.__annotations__]
    assert both.keys() == {*typing.get_type_hints(LoRAParameters), *of_trackers}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_reference_table_has_a_row_for_each_parameter(algorithm):
    rows = re.findall(r"^\| `(\w+)` \|", table(algorithm.declared()), flags=re.MULTILINE)
    assert rows == list(algorithm.declared())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_json_schema_describes_what_a_file_may_hold(algorithm):
    schema = json_schema(algorithm.name, algorithm.declared())
    assert schema["properties"].keys() - {"algorithm"} == algorithm.declared().keys() - {"callbacks"}
    assert schema["properties"]["learning_rate"]["exclusiveMinimum"] == 0
    assert "default" not in schema["properties"]["model_path"]


def test_algorithms_have_defaults_of_their_own():
    assert SFTAlgorithm.declared()["learning_rate"].default == 2e-5
    assert LoRASFTAlgorithm.declared()["learning_rate"].default == 2e-4
