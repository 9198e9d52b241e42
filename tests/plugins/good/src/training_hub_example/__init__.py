"""A third party's plugin with one of everything: backends, an algorithm with rows and figures of its own, and more.

It trains without torch, so that what the hub does for a plugin can be tested where there is no framework.
"""

from collections.abc import Callable, Sequence

from training_hub.plugin import Algorithm, Backend, RowFormat, Tracker, hookimpl

training_hub_hooks = 1


@hookimpl
def training_hub_backends() -> dict[str, type[Backend]]:
    from training_hub_example.backend import ExampleBackend
    from training_hub_example.counting import CountingBackend

    return {"example": ExampleBackend, "counting": CountingBackend}


@hookimpl
def training_hub_algorithms() -> list[type[Algorithm]]:
    from training_hub_example.votes import VotesAlgorithm

    return [VotesAlgorithm]


@hookimpl
def training_hub_row_formats() -> list[RowFormat]:
    from training_hub_example.votes import VoteFormat

    return [VoteFormat()]


@hookimpl
def training_hub_trackers() -> list[type[Tracker]]:
    from training_hub_example.notebook import Notebook

    return [Notebook]


@hookimpl
def training_hub_commands() -> dict[str, Callable[[Sequence[str]], int | None]]:
    from training_hub_example.command import count_words

    return {"count-words": count_words}
