"""What is asked for is translated or refused before anything starts."""

import inspect
import re
from dataclasses import replace
from importlib import metadata

import pytest

from training_hub import AlgorithmRegistry
from training_hub.backends import framework_arguments
from training_hub.backends import installation as requirements
from training_hub.backends.framework_arguments import keys_of, parameters_of
from training_hub.plugin import Devices
from training_hub_trl import conditions, keyword_values, worker
from training_hub_unsloth import backend as module
from training_hub_unsloth import installation, rules
from training_hub_unsloth.backend import UnslothLoRABackend

CPU = Devices("cpu", 4)
GPUS = Devices("cuda", 2, ("GPU", "GPU"), bf16=True)
OLD_GPU = Devices("cuda", 1, ("Old GPU",), bf16=False)
FILES = {"model_path": "model", "data_path": "rows.jsonl", "ckpt_output_dir": "out"}


@pytest.fixture
def translated(monkeypatch):
    """The translation for given parameters, as on a machine with these devices and packages."""

    def translate(here, packages=(), **given):
        monkeypatch.setattr(module, "devices", lambda: here)
        for home in (rules, conditions, keyword_values):
            monkeypatch.setattr(home, "find_spec", lambda name: object() if name in packages else None)
        return UnslothLoRABackend().translate(AlgorithmRegistry.get_algorithm("lora_sft").resolve({**FILES, **given}))

    return translate


REFUSED = [
    (CPU, {"load_in_4bit": True}, "needs a GPU"),
    (CPU, {"load_in_8bit": True}, "needs a GPU"),
    (CPU, {"optim": "adamw_9bit"}, "did you mean 'adamw_8bit'"),
    (CPU, {"optim": "lion_32bit"}, "bitsandbytes needs a GPU"),
    (GPUS, {"optim": "adamw_8bit"}, "pip install bitsandbytes"),
    (GPUS, {"load_in_4bit": True}, "bitsandbytes is not installed"),
    (GPUS, {"enable_model_splitting": True, "nproc_per_node": 2}, "one process over several GPUs"),
    (OLD_GPU, {"enable_model_splitting": True}, "needs several GPUs"),
    (CPU, {"sample_packing": True}, "packs on a GPU only"),
    (CPU, {"bf16": True}, "computes in float32"),
    (OLD_GPU, {"bf16": True}, "does not compute in bfloat16"),
    (GPUS, {"bf16": False}, "computes in bfloat16"),
    (CPU, {"flash_attention": True}, "needs a GPU"),
    (CPU, {"use_liger": True}, "fused kernels of its own"),
    (CPU, {"finetune_vision_layers": True}, "on a GPU only"),
    (GPUS, {"finetune_language_layers": False}, "nothing would be learnt"),
    (CPU, {"init_lora_weights": "eva"}, "only zeroes"),
    (CPU, {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "pip install bitsandbytes scipy"),
    (CPU, {"target_modules": ["q_proj", "lm_head"]}, "trains lm_head in full"),
    (CPU, {"full_finetuning": True}, "sft trains all weights"),
    (CPU, {"token": "secret"}, "HF_TOKEN"),
    (CPU, {"hub_token": "secret"}, "HF_TOKEN"),
    (GPUS, {"dtype": "bfloat16"}, "follows from bf16 and fp16"),
    (GPUS, {"gradient_checkpointing": False}, "give use_gradient_checkpointing"),
    (CPU, {"target_modules": "q_proj|lm_head"}, "trains lm_head in full"),
    (CPU, {"max_length": 8}, "give max_seq_len"),
    (CPU, {"rope_scaling": {"factor": 2}}, "does without it on a CPU"),
    (CPU, {"max_seq_length": 10}, "give max_seq_len instead"),
    (CPU, {"save_guf": "q4_k_m"}, "did you mean 'save_gguf'"),
    (CPU, {"save_gguf": "q4_k_x"}, "did you mean 'q4_k_m'|did you mean 'q4_k_"),
    (CPU, {"save_gguf": ["q8_0", "iq2_xs"]}, "give imatrix_file"),
    (GPUS, {"first_conversion": "bf16"}, "say which one with save_gguf"),
]


@pytest.mark.parametrize(("here", "given", "reason"), REFUSED, ids=[f"{h.kind}-{next(iter(g))}" for h, g, _ in REFUSED])
def test_what_cannot_be_honoured_is_refused_by_name(translated, here, given, reason):
    problems = translated(here, **given).problems
    assert len(problems) == 1
    assert problems[0].startswith(next(iter(given)))
    assert re.search(reason, problems[0])


def test_a_gpu_gets_what_makes_unsloth_unsloth(translated):
    found = translated(GPUS, packages=("bitsandbytes",), load_in_4bit=True)
    assert not found.problems
    assert found.arguments["from_pretrained"] == {
        "model_name": "model",
        "max_seq_length": 2048,
        "trust_remote_code": False,
        "load_in_4bit": True,
        "load_in_8bit": False,
        "device_map": {"": 0},
        "dtype": "bfloat16",
        "use_exact_model_name": True,
    }
    assert found.arguments["get_peft_model"]["use_gradient_checkpointing"] == "unsloth"
    assert found.arguments["SFTConfig"]["gradient_checkpointing"] is True
    assert found.launch.argv("job.json") == ["-m", "training_hub_unsloth.worker", "job.json"]


def test_several_gpus_are_used_by_processes_or_by_one(translated):
    parallel = translated(GPUS, nproc_per_node="gpu")
    assert parallel.launch.torchrun and parallel.launch.processes == 2
    assert "device_map" not in parallel.arguments["from_pretrained"]
    split = translated(GPUS, enable_model_splitting=True)
    assert split.arguments["from_pretrained"]["device_map"] == "balanced"
    assert not split.launch.torchrun


def test_precision_follows_the_device(translated):
    kinds = [(CPU, {}), (OLD_GPU, {}), (GPUS, {}), (GPUS, {"fp16": True})]
    assert [translated(here, **own).arguments["from_pretrained"]["dtype"] for here, own in kinds] == [
        "float32",
        "float16",
        "bfloat16",
        "float16",
    ]


def test_vision_layers_are_adapted_and_not_waited_for(translated):
    found = translated(GPUS, finetune_vision_layers=True)
    assert not found.problems
    assert found.arguments["get_peft_model"]["finetune_vision_layers"] is True
    assert found.arguments["SFTConfig"]["ddp_find_unused_parameters"] is True


def test_further_keywords_reach_the_function_that_takes_them(translated):
    found = translated(
        GPUS,
        modules_to_save=["lm_head"],
        offload_embedding=True,
        label_smoothing_factor=0.1,
        save_gguf="q4_k_m",
        maximum_memory_usage=0.5,
        use_gradient_checkpointing=False,
    )
    assert not found.problems
    assert found.arguments["get_peft_model"]["modules_to_save"] == ["lm_head"]
    assert found.arguments["from_pretrained"]["offload_embedding"] is True
    assert found.arguments["SFTConfig"]["label_smoothing_factor"] == 0.1
    assert found.arguments["export"] == {"save_gguf": "q4_k_m"}
    assert found.arguments["save_pretrained_gguf"] == {"maximum_memory_usage": 0.5}
    assert found.arguments["SFTConfig"]["gradient_checkpointing"] is False


def test_the_table_holds_for_what_unsloth_and_trl_really_take(translated, by_itself):
    """Every argument that the hub sets is one of the functions that are called, by their real signatures."""
    taken = by_itself(
        "import json, inspect",
        "from unsloth import FastLanguageModel",
        "from peft import LoraConfig",
        "from trl import SFTConfig",
        "names = lambda f: list(inspect.signature(f).parameters)",
        "print(json.dumps({'from_pretrained': names(FastLanguageModel.from_pretrained), 'SFTConfig': names(SFTConfig),",
        "    'get_peft_model': names(FastLanguageModel.get_peft_model) + names(LoraConfig)}))",
    )
    arguments = translated(CPU, rank_pattern={"q_proj": 4}, use_dora=True, validation_split=0.1).arguments
    for owner, values in arguments.items():
        assert values.keys() <= set(taken[owner]), owner


def test_an_unsupported_unsloth_is_named_with_both_versions(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(requirements, "version", lambda name: "2025.1.1" if name == "unsloth" else real(name))
    assert "unsloth 2025.1.1 is installed" in installation.obstacle(CPU)
    assert "2026.10.9" in installation.obstacle(CPU)


def test_packages_outside_unsloths_caps_are_named_with_both_versions(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(requirements, "version", lambda name: "5.2.0" if name == "datasets" else real(name))
    assert "datasets 5.2.0 is installed, and unsloth 2026.10" in installation.obstacle(CPU)


def test_it_is_available_here_and_on_a_gpu_with_triton(monkeypatch):
    assert installation.obstacle(CPU) is None
    assert "MLX" in installation.obstacle(replace(CPU, kind="mps"))
    real = installation.find_spec
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "triton" else real(name))
    assert "Triton" in installation.obstacle(GPUS)


def test_no_framework_is_imported_to_translate(by_itself):
    loaded = by_itself(
        "import sys, json",
        "from training_hub import AlgorithmRegistry, UnslothLoRABackend",
        "backend = UnslothLoRABackend()",
        "backend.availability()",
        f"backend.translate(AlgorithmRegistry.get_algorithm('lora_sft').resolve({FILES!r}))",
        "print(json.dumps([n for n in ('torch', 'unsloth', 'transformers', 'trl', 'peft') if n in sys.modules]))",
    )
    assert loaded == []


def test_reading_signatures_from_source_finds_what_inspect_finds():
    assert parameters_of("training_hub_trl", "worker.py", "train") == set(inspect.signature(worker.train).parameters)
    missing = r"unsloth 2026.*no function FastLlamaModel\.nope"
    with pytest.raises(framework_arguments.UnreadableSourceError, match=missing):
        parameters_of("unsloth", "models/llama.py", "FastLlamaModel.nope")
    assert "q4_k_m" in keys_of("unsloth", "save.py", "ALLOWED_QUANTS")


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
    ("file", "keyword"),
    [
        ("models/loader.py", {"offload_embedding": True}),
        ("models/llama.py", {"use_gradient_checkpointing": False}),
        ("models/vision.py", {"max_steps": 2}),
        ("save.py", {"save_gguf": "q4_k_m"}),
        ("cpu/loader.py", {"rope_scaling": {"factor": 2}}),
        ("training_args.py", {"max_steps": 2}),
        ("tuners/lora/config.py", {"init_lora_weights": "gaussian", "modules_to_save": ["lm_head"]}),
    ],
)
def test_a_source_file_that_moved_costs_the_check_of_further_keywords_alone(translated, moved, file, keyword):
    moved(file)
    assert not translated(CPU).problems
    found = translated(CPU, **keyword)
    assert not found.problems
    [warning] = found.warnings
    assert file in warning and "further keywords are not checked" in warning
    assert translated(CPU, token="secret").problems


@pytest.mark.parametrize(("imported", "refused"), [(True, ["hang_seconds"]), (False, [])])
def test_only_a_process_of_its_own_can_be_ended_when_it_hangs(translated, monkeypatch, imported, refused):
    """The caller has imported Unsloth, and so trains in its own process."""
    monkeypatch.setattr(module, "in_this_process", lambda: imported)
    found = translated(CPU, hang_seconds=60)
    assert [problem.partition(":")[0].partition("=")[0] for problem in found.problems] == refused
