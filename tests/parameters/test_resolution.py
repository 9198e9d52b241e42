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


def test_a_path_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parameters = sft(model_path="~/m", data_path=Path("~/d"), ckpt_output_dir="~", resume="~/o", wandb_project="~/p")
    assert (parameters["model_path"], parameters["data_path"]) == ("/home/me/m", "/home/me/d")
    assert (parameters["ckpt_output_dir"], parameters["resume"]) == ("/home/me", "/home/me/o")
    assert parameters["wandb_project"] == "~/p"


@pytest.mark.parametrize("path", ["organisation/name", "./organisation/name", "a~/b"])
def test_any_other_path_stays_as_it_is_written(path):
    assert sft(model_path=path)["model_path"] == path


def test_what_is_done_to_values_is_not_done_to_the_callers():
    callback = TrainingHubCallback()
    mine = {
        "target_modules": ["q_proj"],
        "loftq_config": {"loftq_bits": 4, "more": [1]},
        "callbacks": [callback],
        "modules_to_save": ["head"],
        "nested": {"of": [{"a": [1]}]},
    }
    parameters = lora(**mine)
    for values in (
        parameters.for_backend(),
        parameters,
        parameters.backend_kwargs,
        parameters.only(mine.keys() - {"nested", "modules_to_save"}),
    ):
        for name in mine.keys() & values.keys():
            values[name].clear()
    assert mine == {
        "target_modules": ["q_proj"],
        "loftq_config": {"loftq_bits": 4, "more": [1]},
        "callbacks": [callback],
        "modules_to_save": ["head"],
        "nested": {"of": [{"a": [1]}]},
    }
    assert lora(**mine)["callbacks"][0] is callback
    lora(**mine).for_backend()["nested"]["of"][0]["a"].append(2)
    assert mine["nested"] == {"of": [{"a": [1]}]}


def test_names_that_are_not_declared_are_kept_for_the_backend():
    parameters = sft(custom_optimization_flag=True)
    assert parameters.backend_kwargs == {"custom_optimization_flag": True}
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
        ("learning_rate", True, "learning_rate: expected a number greater than 0 and at most 1; got True"),
        ("num_epochs", True, "num_epochs: expected a whole number of at least 1; got True"),
        ("seed", False, "seed: expected a whole number"),
        ("num_epochs", b"3", "num_epochs: expected a whole number of at least 1; got b'3'"),
        ("nproc_per_node", True, "nproc_per_node: expected"),
        ("rdzv_id", True, "rdzv_id: expected"),
        ("trust_remote_code", "yes", "trust_remote_code: expected true or false; got 'yes'"),
        ("save_final_checkpoint", "false", "save_final_checkpoint: expected true or false; got 'false'"),
        ("save_final_checkpoint", 1, "save_final_checkpoint: expected true or false; got 1"),
        ("resume", 1, "resume: expected true or false or a path"),
        ("data_path", b"rows.jsonl", "data_path: expected a path that is not empty; got b'rows.jsonl'"),
        ("wandb_project", b"p", "wandb_project: expected text"),
        ("fsdp_options", {"cpu_offload_params": "false"}, "fsdp_options: expected a mapping"),
        (
            "fsdp_options",
            {"cpu_offload": True},
            "there is no such key (did you mean 'cpu_offload_params'?); there are sharding_strategy, cpu_offload_params",
        ),
        ("data_output_dir", "", "data_output_dir: expected a path that is not empty; got ''"),
        ("tensorboard_log_dir", "", "tensorboard_log_dir: expected a path that is not empty; got ''"),
        ("resume", "", "resume: expected"),
        ("rdzv_endpoint", "nonsense", "rdzv_endpoint: expected HOST:PORT, such as node0:29400; got 'nonsense'"),
        ("rdzv_endpoint", "", "rdzv_endpoint: expected HOST:PORT"),
        ("rdzv_endpoint", "host:", "rdzv_endpoint: expected HOST:PORT"),
        ("rdzv_endpoint", "host:99999", "rdzv_endpoint: expected HOST:PORT"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_was_expected(name, value, expected):
    with pytest.raises(ParameterError) as raised:
        sft(**{name: value})
    assert expected in str(raised.value)
    assert isinstance(raised.value, ValueError) and isinstance(raised.value, TrainingHubError)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("eval_data_path", "", "eval_data_path: expected a path that is not empty; got ''"),
        ("target_modules", [], "target_modules=[]: there is no layer in it; leave it out"),
        ("target_modules", ["q_proj", True], "target_modules: expected a list of text or text"),
        ("rank_pattern", {"q_proj": True}, "rank_pattern: expected a mapping"),
        ("init_lora_weights", 1, "init_lora_weights: expected true or false or text; got 1"),
    ],
)
def test_a_value_that_does_not_fit_an_adapter_is_named_too(name, value, expected):
    with pytest.raises(ParameterError) as raised:
        lora(**{name: value})
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("resolve_with", "name", "value", "meant"),
    [
        (sft, "weight_decay", 1, 1.0),
        (sft, "warmup_steps", 1e3, 1000),
        (sft, "num_epochs", "3", 3),
        (sft, "rdzv_endpoint", "[::1]:29400", "[::1]:29400"),
        (lora, "target_modules", ("q_proj", "k_proj"), ["q_proj", "k_proj"]),
        (lora, "alpha_pattern", {"q_proj": 8}, {"q_proj": 8.0}),
        (lora, "init_lora_weights", False, False),
        (lora, "loftq_config", {"a": True, "b": 1}, {"a": True, "b": 1}),
    ],
)
def test_a_value_that_can_only_mean_one_thing_is_taken(resolve_with, name, value, meant):
    found = resolve_with(**{name: value})[name]
    assert (found, type(found)) == (meant, type(meant))


def test_micro_batches_that_contradict_the_effective_batch_are_refused_before_any_backend_sees_them():
    cut = {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "effective_batch_size": 16, "nproc_per_node": 2}
    with pytest.raises(ParameterError, match="micro_batch_size=2 .* 2 processes = 8, and effective_batch_size=16"):
        lora(**cut)
    assert lora(**cut, nnodes=2, master_addr="a")["effective_batch_size"] == 16
    assert lora(**cut | {"nproc_per_node": "auto"})["effective_batch_size"] == 16
    assert lora(micro_batch_size=2, gradient_accumulation_steps=2)["micro_batch_size"] == 2


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
    with pytest.raises(ParameterError, match=r"target_patterns=\[\]: there is no pattern in it"):
        OSFTAlgorithm.resolve({**NEEDED, "unfreeze_rank_ratio": 0.5, "target_patterns": []})
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
    environment = {"PET_RDZV_ENDPOINT": "h:1", "MASTER_ADDR": "host"}
    for here in ({"master_addr": "127.0.0.1"}, {"master_port": 29500}):
        parameters = scheduled(environment, nnodes=2, **here)
        assert parameters["rdzv_endpoint"] is None
        assert parameters["master_addr"] == here.get("master_addr", "host")
    both = scheduled(environment, nnodes=2)
    assert (both["rdzv_endpoint"], both["master_addr"]) == ("h:1", None)


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
