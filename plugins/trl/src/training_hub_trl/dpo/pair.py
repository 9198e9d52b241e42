"""A preference pair, as it stands in a row and as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from training_hub.plugin import Message

Messages: TypeAlias = tuple[Message, ...]


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt: all three texts, or all three messages, which the chat template writes."""

    prompt: str | Messages
    chosen: str | Messages
    rejected: str | Messages
    tools: Messages = ()
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the chat template."""

    @property
    def messages(self) -> Messages:
        """All of its messages; of texts none."""
        sides = (self.prompt, self.chosen, self.rejected)
        return tuple(message for side in sides if not isinstance(side, str) for message in side)


class EncodedPair(NamedTuple):
    """A prompt and two answers to it as tokens."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def length(self) -> int:
        """Tokens of the prompt and the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def total_tokens(self) -> int:
        """Tokens of both sequences: the prompt counts twice."""
        return 2 * len(self.prompt_ids) + self.trained_tokens

    @property
    def trained_tokens(self) -> int:
        """Tokens of both answers."""
        return len(self.chosen_ids) + len(self.rejected_ids)


def shared_beginning(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences begin with alike."""
    different = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(different, min(len(one), len(other)))
