"""Conversations as one tokenizer's chat template writes them, and whose each character is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from training_hub.data.examples import Conversation, Message
from training_hub.data.losses import TemplateError
from training_hub.data.tokenizer import Tokenizer
from training_hub.data.traced import Traced

if TYPE_CHECKING:
    from training_hub.data.template import TracedTemplate


class Beside(NamedTuple):
    """What a template is given beside the messages."""

    tools: list[Message] | None = None
    arguments: Mapping[str, Any] = {}

    @classmethod
    def of(cls, conversation: Conversation) -> Beside:
        return cls(list(conversation.tools) or None, conversation.template_arguments)


class Renderer:
    """Renders with one tokenizer's chat template."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._templates: dict[str, TracedTemplate] = {}

    def render(self, messages: Sequence[Message], beside: Beside, prompt: bool = False) -> str:
        """The text, with the generation prompt behind it if wanted.

        Raises:
            TemplateError: The template does not take the messages.
        """
        try:
            text = self.tokenizer.apply_chat_template(
                list(messages), tools=beside.tools, tokenize=False, add_generation_prompt=prompt, **beside.arguments
            )
        except Exception as error:  # a template raises whatever its author chose
            said = str(error) or type(error).__name__
            raise TemplateError(f"the chat template does not take the row: {said}") from error
        return str(text)

    def attempt(self, messages: Sequence[Message], beside: Beside, prompt: bool = False) -> str | None:
        """The text, or None: a template may refuse a part of what it takes as a whole."""
        try:
            return self.render(messages, beside, prompt) if messages else None
        except TemplateError:
            return None

    def traced(self, text: str, messages: Sequence[Message], beside: Beside, prompt: bool = False) -> Traced:
        """A text that was rendered, again, of which each character knows its message.

        Raises:
            TemplateError: The tokenizer does not write what its template says.
        """
        variables = {**self.tokenizer.special_tokens_map, **beside.arguments}
        try:
            traced = self._template(beside).render(messages, beside.tools, prompt, variables)
        except Exception as error:  # whatever, the text itself was written
            said = f"{type(error).__name__}: {error}"
            raise TemplateError(f"what of the row its chat template writes cannot be told ({said})") from error
        if traced != text:
            raise TemplateError(
                "its tokenizer writes another text than the chat template says, so what to train cannot be told; use "
                "a tokenizer of transformers as it is"
            )
        return traced

    def is_usual(self, messages: Sequence[Message], beside: Beside) -> bool:
        """Whether no content has what the template looks for, so that what it wrote around others it writes here."""
        asked = self._template(beside).asked
        return not any(text in str(message.get("content")) for text in asked for message in messages)

    def _template(self, beside: Beside) -> TracedTemplate:
        from training_hub.data.template import TracedTemplate  # jinja2, which takes a while to import

        source = str(self.tokenizer.get_chat_template(tools=beside.tools))
        if source not in self._templates:
            self._templates[source] = TracedTemplate(source)
        return self._templates[source]
