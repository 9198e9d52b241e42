"""The effective batch is exact, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub import LoRASFTAlgorithm
from training_hub.backends.batches import plan_batches, processes
from training_hub.backends.devices import Devices
from training_hub.errors import BackendUnavailableError, ParameterError

NEEDED = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}
TWO_CORES = Devices("cpu", 2)
FOUR_GPUS = Devices("cuda", 4, ("H200",) * 4, True)


def plan(world_size=1, **values):
    return plan_batches(LoRASFTAlgorithm.resolve({**NEEDED, **values}), world_size)


@given(
    effective=st.integers(1, 4096),
    world_size=st.integers(1, 64),
    length=st.integers(1, 4096),
    tokens=st.integers(4096, 100_000),
)
def test_the_parts_multiply_to_the_effective_batch_and_fit_the_memory_bound(effective, world_size, length, tokens):
    try:
        cut = plan(world_size, effective_batch_size=effective, max_seq_len=length, max_tokens_per_gpu=tokens)
    except ParameterError as error:
        assert effective % world_size and "effective_batch_size" in str(error)
    else:
        assert cut.micro_batch_size * cut.gradient_accumulation_steps * cut.world_size == effective
        assert cut.micro_batch_size * length <= tokens


def test_micro_batches_and_steps_alone_make_the_effective_batch():
    assert plan(2, micro_batch_size=3, gradient_accumulation_steps=4).effective_batch_size == 24


def test_micro_batches_that_contradict_the_effective_batch_are_refused():
    with pytest.raises(ParameterError) as raised:
        plan(2, nproc_per_node="auto", micro_batch_size=3, gradient_accumulation_steps=4, effective_batch_size=16)
    assert "micro_batch_size=3 x gradient_accumulation_steps=4 x 2 processes = 24" in str(raised.value)
    with pytest.raises(ParameterError, match="which micro_batch_size=3 does not divide"):
        plan(1, micro_batch_size=3, effective_batch_size=16)


def test_an_effective_batch_that_processes_cannot_share_is_refused_with_the_nearest_that_they_can():
    with pytest.raises(ParameterError, match="give 6 or 9"):
        plan(3, effective_batch_size=8)


def asked(nproc_per_node, devices):
    return processes(LoRASFTAlgorithm.resolve({**NEEDED, "nproc_per_node": nproc_per_node}), devices)


def test_processes_follow_the_devices():
    assert asked("auto", TWO_CORES) == 1
    assert asked("auto", FOUR_GPUS) == asked("gpu", FOUR_GPUS) == 4
    assert asked(2, TWO_CORES) == 2
    with pytest.raises(BackendUnavailableError, match="no GPU"):
        asked("gpu", TWO_CORES)
    with pytest.raises(BackendUnavailableError, match="nproc_per_node=8: this machine has 4 x H200"):
        asked(8, FOUR_GPUS)
