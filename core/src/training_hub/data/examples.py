"""The four shapes that rows of the hub's own formats are brought to, for its encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

REASONING: Final = ("reasoning_content", "reasoning", "thinking")

IGNORED: Final = -100

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages for the chat template; `trained` are the indices of those whose text is learnt."""

    messages: tuple[Message, ...]
    trained: tuple[int, ...]
    tools: tuple[Message, ...] = ()
    template_arguments: Message = field(default_factory=dict)
    """What the template is given besides."""


@dataclass(frozen=True, slots=True)
class PromptCompletion:
    """Plain text without a template; the completion is learnt, and the prompt as well with `unmask`."""

    prompt: str
    completion: str
    unmask: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """Text of which every token is learnt."""

    text: str


@dataclass(frozen=True, slots=True)
class Processed:
    """Tokens and labels that were made before."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


Example = Conversation | PromptCompletion | Document | Processed


def has_reasoning(message: Message) -> bool:
    """Whether a message carries reasoning beside its content."""
    return any(str(message.get(name, "")).strip() for name in REASONING)
