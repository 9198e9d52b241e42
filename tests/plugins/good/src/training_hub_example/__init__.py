"""A third party's plugin: a backend for `sft`, and an algorithm of its own, `dpo`, with the backend that carries it out."""

from training_hub import Algorithm, Backend, hookimpl

training_hub_hooks = 1


@hookimpl
def training_hub_backends() -> dict[str, type[Backend]]:
    from training_hub_example.backend import ExampleBackend

    return {"example": ExampleBackend}


@hookimpl
def training_hub_algorithms() -> list[type[Algorithm]]:
    from training_hub_example.dpo import DPOAlgorithm

    return [DPOAlgorithm]
