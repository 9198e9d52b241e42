"""What the data package asks of a tokenizer; every fast tokenizer of transformers has it."""

from __future__ import annotations

from typing import Any, Protocol

from training_hub.errors import ModelError


class Tokenizer(Protocol):
    """The few members that are used, so that the core needs no import of transformers."""

    @property
    def name_or_path(self) -> Any: ...
    @property
    def is_fast(self) -> Any: ...
    @property
    def chat_template(self) -> Any: ...
    @property
    def eos_token(self) -> Any: ...
    @property
    def eos_token_id(self) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any: ...
    def get_added_vocab(self) -> Any: ...
    def get_chat_template(self, *args: Any, **kwargs: Any) -> Any: ...
    @property
    def special_tokens_map(self) -> Any: ...
    def convert_ids_to_tokens(self, ids: int) -> Any: ...


def require_offsets(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that cannot say which characters a token stands for."""
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {_name(tokenizer)} is not a fast one, so a token's place in the text is unknown; "
            "save it with a tokenizer.json (AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained(...))."
        )


def require_template(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that cannot render a conversation."""
    if not tokenizer.chat_template:
        raise ModelError(
            f"The tokenizer of {_name(tokenizer)} has no chat template, which conversations need; put the template "
            "of its instruct model in the model directory as chat_template.jinja or as 'chat_template' in "
            "tokenizer_config.json, or give rows of 'prompt' and 'completion' texts."
        )


def end_of_text(tokenizer: Tokenizer) -> int:
    """The token that ends a text."""
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {_name(tokenizer)} has no end-of-text token, so a model would never learn to stop; "
            "set 'eos_token' in its tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


def _name(tokenizer: Tokenizer) -> str:
    return repr(str(tokenizer.name_or_path)) if tokenizer.name_or_path else "the model"
