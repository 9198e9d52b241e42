"""What a caller gives becomes a complete, checked set of parameters, or a message that says what to mend."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub import LoRASFTAlgorithm, OSFTAlgorithm, SFTAlgorithm, TrainingHubCallback, TrainingHubError
from training_hub.errors import ParameterError
from training_hub.parameters import resolve

NEEDED = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}


def sft(**given_values):
    return SFTAlgorithm.resolve({**NEEDED, **given_values})


def lora(**given_values):
    return LoRASFTAlgorithm.resolve({**NEEDED, **given_values})


def test_three_values_are_enough():
    parameters = sft()
    assert parameters["num_epochs"] == 3
    assert parameters["max_tokens_per_gpu"] == 8192
    assert parameters.origin["model_path"] == "call"
    assert parameters.origin["num_epochs"] == "default"


def test_none_means_not_given():
    assert sft(warmup_steps=None) == sft()


def test_a_default_can_follow_from_another_parameter():
    assert sft(max_seq_len=20_000)["max_tokens_per_gpu"] == 20_000


def test_paths_may_be_path_objects():
    assert sft(model_path=Path("a") / "b")["model_path"] == str(Path("a") / "b")


def test_names_that_are_not_declared_are_kept_for_the_backend():
    parameters = sft(custom_optimization_flag=True)
    assert parameters.further == {"custom_optimization_flag": True}
    assert parameters.for_backend()["custom_optimization_flag"] is True


def test_a_number_written_as_yaml_1_1_leaves_it_is_a_number():
    assert sft(learning_rate="2e-5")["learning_rate"] == 2e-5


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_epochs", "three", "num_epochs: expected a whole number of at least 1; got 'three'"),
        ("num_epochs", 0, "num_epochs: expected a whole number of at least 1; got 0"),
        ("learning_rate", -1, "learning_rate: expected a number greater than 0 and at most 1; got -1"),
        ("learning_rate", float("nan"), "learning_rate: expected a number"),
        ("lr_scheduler", "cosin", "'cosine'"),
        ("nproc_per_node", "many", "'auto' or 'gpu'; got 'many'"),
        ("model_path", "", "model_path: expected a path that is not empty; got ''"),
        ("seed", -1, "seed: expected a whole number of at least 0"),
        ("fsdp_options", {"sharding_strategy": "X"}, "FULL_SHARD"),
        ("callbacks", "print", "callbacks: expected"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_was_expected(name, value, expected):
    with pytest.raises(ParameterError) as raised:
        sft(**{name: value})
    assert expected in str(raised.value)
    assert isinstance(raised.value, ValueError) and isinstance(raised.value, TrainingHubError)


def test_every_problem_is_told_at_once():
    with pytest.raises(ParameterError) as raised:
        SFTAlgorithm.resolve({"num_epochs": 0, "seed": "x"})
    for name in ("num_epochs", "seed", "model_path", "data_path", "ckpt_output_dir"):
        assert name in str(raised.value)


@pytest.mark.parametrize(
    ("resolve_with", "values", "names"),
    [
        (sft, {"block_size": 8}, ("block_size", "is_pretraining")),
        (sft, {"is_pretraining": True}, ("is_pretraining", "block_size")),
        (sft, {"document_column_name": "t"}, ("document_column_name", "is_pretraining")),
        (sft, {"validation_frequency": 5}, ("validation_frequency", "validation_split")),
        (sft, {"save_best_val_loss": True}, ("save_best_val_loss", "validation_split")),
        (sft, {"max_seq_len": 100, "max_tokens_per_gpu": 99}, ("max_seq_len", "max_tokens_per_gpu")),
        (
            sft,
            {"is_pretraining": True, "block_size": 100, "max_tokens_per_gpu": 99},
            ("block_size", "max_tokens_per_gpu"),
        ),
        (sft, {"nnodes": 2}, ("nnodes", "rdzv_endpoint")),
        (sft, {"nnodes": 2, "master_addr": "a", "node_rank": 2}, ("node_rank", "nnodes")),
        (sft, {"rdzv_endpoint": "a:1", "master_addr": "b"}, ("rdzv_endpoint", "master_addr")),
        (lora, {"load_in_4bit": True, "load_in_8bit": True}, ("load_in_4bit", "load_in_8bit")),
        (lora, {"bf16": True, "fp16": True}, ("bf16", "fp16")),
        (lora, {"eval_steps": 3}, ("eval_steps", "eval_data_path")),
        (lora, {"eval_data_path": "e", "validation_split": 0.1}, ("eval_data_path", "validation_split")),
    ],
)
def test_contradictions_name_both_parameters(resolve_with, values, names):
    with pytest.raises(ParameterError) as raised:
        resolve_with(**values)
    for name in names:
        assert name in str(raised.value)


def test_osft_needs_a_ratio_between_0_and_1():
    with pytest.raises(
        ParameterError, match="unfreeze_rank_ratio: osft needs it, a number of at least 0 and at most 1"
    ):
        OSFTAlgorithm.resolve(NEEDED)
    with pytest.raises(ParameterError, match="of at least 0 and at most 1; got 1.5"):
        OSFTAlgorithm.resolve({**NEEDED, "unfreeze_rank_ratio": 1.5})
    assert OSFTAlgorithm.resolve({**NEEDED, "unfreeze_rank_ratio": 0})["unfreeze_rank_ratio"] == 0


def test_callbacks_are_typed():
    callback = TrainingHubCallback()
    assert sft(callbacks=callback)["callbacks"] is callback
    assert sft(callbacks=[callback])["callbacks"] == [callback]


def scheduled(environment, **values):
    return resolve("sft", SFTAlgorithm.declared(), {**NEEDED, **values}, environment=environment)


def test_what_a_scheduler_sets_fills_what_the_call_leaves_open():
    environment = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "auto", "MASTER_ADDR": "host"}
    parameters = scheduled(environment)
    assert (parameters["nnodes"], parameters["node_rank"], parameters["nproc_per_node"]) == (2, 1, "auto")
    assert parameters["master_addr"] == "host"
    assert parameters.origin["nnodes"] == "environment PET_NNODES"
    assert scheduled(environment, nnodes=4, nproc_per_node=8)["nnodes"] == 4


def test_a_rendezvous_of_the_call_is_not_contradicted_by_the_environment():
    assert scheduled({"MASTER_ADDR": "host"}, nnodes=2, rdzv_endpoint="other:1")["master_addr"] is None


def test_a_scheduler_that_sets_nonsense_is_named():
    with pytest.raises(ParameterError, match="PET_NNODES"):
        scheduled({"PET_NNODES": "1:4"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(LoRASFTAlgorithm.declared())), json_values, max_size=8))
def test_any_values_are_resolved_or_refused_by_name(values):
    try:
        parameters = LoRASFTAlgorithm.resolve({**NEEDED, **values})
    except ParameterError as error:
        assert any(name in str(error) for name in values)
    else:
        assert parameters.keys() == LoRASFTAlgorithm.declared().keys()


@given(st.data())
def test_resolving_what_was_resolved_changes_nothing(data):
    values = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "num_epochs": st.integers(1, 100),
                "learning_rate": st.floats(1e-9, 1, exclude_min=True),
                "effective_batch_size": st.integers(1, 10_000),
                "validation_split": st.floats(0, 1, exclude_max=True),
                "max_seq_len": st.integers(1, 100_000),
            },
        )
    )
    once = sft(**values)
    assert dict(SFTAlgorithm.resolve(dict(once))) == dict(once)
