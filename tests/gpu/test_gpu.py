"""What only a CUDA machine can show, for each backend that is installed: `nox -s gpu`.

Each test trains for real; what this machine lacks (a second GPU, a package) is skipped by name.
"""

from importlib.util import find_spec

import pytest

import training_hub
from training_hub.backends.devices import devices
from training_hub.plugins import discovery
from training_hub.store.events import read_events
from training_hub.testing.reference import measure_apart
from training_hub.testing.toy import conversations, make_model, write_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(devices().kind != "cuda", reason=f"needs a CUDA GPU, and there is {devices()}"),
]

OWN = {"sft": {}, "osft": {"unfreeze_rank_ratio": 0.25}, "lora_sft": {"lora_r": 8}}
CASES = [
    (algorithm, name)
    for name, plugin in discovery.loadable()[0].items()
    for algorithm in plugin.backends[name].algorithms
    if algorithm in OWN
]


def needs(*packages):
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


several_gpus = pytest.mark.skipif(devices().count < 2, reason=f"needs several GPUs, and there is {devices()}")
for_lora = [name for algorithm, name in CASES if algorithm == "lora_sft"]


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    directory = tmp_path_factory.mktemp("toy")
    make_model(directory / "model")
    write_rows(directory / "rows.jsonl", conversations(48))
    return directory


@pytest.fixture
def train(toy, tmp_path):
    """Trains, and checks that the loss starts at the base model's and falls, as does the reloaded checkpoint's."""

    def run(algorithm, backend, name="out", tolerance=5e-2, **asked):
        out = tmp_path / name
        result = getattr(training_hub, algorithm)(
            model_path=toy / "model",
            data_path=toy / "rows.jsonl",
            ckpt_output_dir=out,
            backend=backend,
            num_epochs=8,
            effective_batch_size=48,
            learning_rate=2e-3,
            max_seq_len=256,
            **OWN[algorithm],
            **asked,
        )
        losses = [event["loss"] for event in read_events(out / "events.jsonl") if event["event"] == "step"]
        saved = result.checkpoint
        measured = measure_apart(toy / "model", toy / "rows.jsonl", [toy / "model", saved], out)
        base, reloaded = measured[toy / "model"]["loss"], measured[saved]["loss"]
        assert losses[0] == pytest.approx(base, abs=tolerance)
        assert losses[-1] < losses[0] - 0.1 and reloaded < base - 0.1
        return losses

    return run


@pytest.mark.parametrize(("algorithm", "backend"), CASES)
def test_it_trains_in_the_precision_that_the_gpu_has(train, algorithm, backend):
    train(algorithm, backend)


@needs("liger_kernel")
@pytest.mark.parametrize(("algorithm", "backend"), [case for case in CASES if case[1] != "unsloth"])
def test_liger_gives_the_losses_of_plain_kernels(train, algorithm, backend):
    assert train(algorithm, backend, "liger", use_liger=True) == pytest.approx(train(algorithm, backend), abs=2e-2)


@needs("bitsandbytes")
@pytest.mark.parametrize("backend", for_lora)
@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_a_quantised_base_learns(train, backend, bits):
    train("lora_sft", backend, tolerance=0.3, **{bits: True})


@needs("flash_attn")
# Unsloth uses FlashAttention wherever it is installed, and refuses to do without.
@pytest.mark.parametrize("backend", [name for name in for_lora if name != "unsloth"])
def test_flash_attention_gives_the_losses_of_sdpa(train, backend):
    fast = train("lora_sft", backend, "flash", flash_attention=True)
    assert fast == pytest.approx(train("lora_sft", backend, flash_attention=False), abs=2e-2)


@pytest.mark.parametrize("backend", for_lora)
def test_packing_keeps_rows_apart(train, backend):
    packed = train("lora_sft", backend, "packed", sample_packing=True)
    # Each first step has all rows; ones that saw their neighbours would move its loss by 0.025 or more.
    assert packed[0] == pytest.approx(train("lora_sft", backend)[0], abs=5e-3)


@several_gpus
@pytest.mark.parametrize("backend", for_lora)
def test_one_model_over_several_gpus(train, backend):
    train("lora_sft", backend, enable_model_splitting=True)


@several_gpus
@pytest.mark.parametrize(("algorithm", "backend"), CASES)
def test_two_gpus_give_the_losses_of_one(train, algorithm, backend):
    two = train(algorithm, backend, "two", nproc_per_node=2)
    assert two == pytest.approx(train(algorithm, backend), abs=2e-2)
