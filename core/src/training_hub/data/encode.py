"""Turns an example into tokens and labels, the same for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from training_hub.data.examples import IGNORED, Conversation, Document, Example, Processed, PromptCompletion
from training_hub.data.losses import TemplateError
from training_hub.data.tokenizer import Tokenizer, end_of_text, require_offsets, require_template
from training_hub.data.traced import Span
from training_hub.data.turns import Turns
from training_hub.errors import DatasetError


class Encoded(NamedTuple):
    """Tokens and, for each, the label: the token itself where it is learnt, -100 elsewhere and always first."""

    input_ids: list[int]
    labels: list[int]

    @property
    def length(self) -> int:
        """Tokens of the row."""
        return len(self.input_ids)

    @property
    def total_tokens(self) -> int:
        """Tokens of the row, of which there is one sequence."""
        return len(self.input_ids)

    @property
    def trained_tokens(self) -> int:
        """How many tokens are learnt."""
        return len(self.labels) - self.labels.count(IGNORED)


class _Written(NamedTuple):
    text: str
    spans: Sequence[Span]
    special: bool
    """Whether the tokenizer adds its own special tokens."""


class Encoder:
    """Encodes examples with one tokenizer; keeps what it learns about the chat template, and its warnings."""

    def __init__(self, tokenizer: Tokenizer, embeddings: int | None = None) -> None:
        """Args:
        tokenizer: The model's.
        embeddings: Tokens that the model has embeddings for, where that is known; a tokenizer may have more.
        """
        self.tokenizer = tokenizer
        self.embeddings = embeddings
        self._turns = Turns(tokenizer)
        self._added: dict[int, str] | None = None
        self._warnings: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the data or the template, each said once."""
        return (*self._turns.warnings, *self._warnings)

    def warn(self, message: str) -> None:
        """Let the user know of something once, however often it is said."""
        self._warnings[message] = None

    def check_tokens(self, tokens: Sequence[int], place: object) -> None:
        """Refuse tokens that the model has no embedding for.

        Raises:
            DatasetError: There is one; the message names the row's place, the token and its text.
        """
        if self.embeddings is None or (highest := max(tokens, default=-1)) < self.embeddings:
            return
        text = self.tokenizer.convert_ids_to_tokens(highest)
        raise DatasetError(
            f"{place}: the tokenizer writes the row with token {highest} ({text!r}), and the model has embeddings for "
            f"0 to {self.embeddings - 1} alone; take it out of the row or of the chat template, or give the model more "
            f"embeddings (resize_token_embeddings) and save it again."
        )

    def document(self, document: Document, place: object) -> list[int]:
        """A document's tokens, its end included; `place` names the row in an error."""
        tokens = document_tokens(document, self.tokenizer)
        self.check_tokens(tokens, place)
        return tokens

    def encode(self, example: Example, place: object) -> Encoded:
        """The example's tokens and labels; `place` names the row in an error."""
        [encoded] = self.encode_many([(place, example)])
        return encoded

    def encode_many(self, examples: Sequence[tuple[object, Example]]) -> list[Encoded]:
        """Several examples at once, each with its place, in order: a tokenizer is quicker with many texts."""
        written = [self._written(example, place) for place, example in examples]
        tokens: dict[int, tuple[list[int], list[Span]]] = {}
        for special in (False, True):
            numbers = [number for number, one in enumerate(written) if one is not None and one.special is special]
            texts = [one.text for number in numbers if (one := written[number]) is not None]
            tokens.update(zip(numbers, self._tokens(texts, special), strict=True))
        return [
            self._encoded(example, place, one, tokens.get(number))
            for number, ((place, example), one) in enumerate(zip(examples, written, strict=True))
        ]

    def _encoded(
        self, example: Example, place: object, written: _Written | None, tokens: tuple[list[int], list[Span]] | None
    ) -> Encoded:
        if written is not None and tokens is not None:
            input_ids, offsets = tokens
            mask = self._mask(written.text, input_ids, offsets, written.spans)
            if isinstance(example, PromptCompletion):
                _end(input_ids, end_of_text(self.tokenizer))
                mask = [*mask[: len(input_ids) - 1], True]
            encoded = _labelled(input_ids, mask)
        elif isinstance(example, Document):
            input_ids = document_tokens(example, self.tokenizer)
            encoded = _labelled(input_ids, [True] * len(input_ids))
        else:
            assert isinstance(example, Processed)
            encoded = _processed(example)
        self.check_tokens(encoded.input_ids, place)
        if not encoded.trained_tokens:
            raise DatasetError(f"{place}: nothing in the row is left to train on once it is encoded; check its text.")
        return encoded

    def _written(self, example: Example, place: object) -> _Written | None:
        """An example as text, with the spans of it that are trained; None where that is no text, or all of it is."""
        if isinstance(example, Conversation):
            require_template(self.tokenizer)
            try:
                text, spans = self._turns.render(example, place)
            except TemplateError as error:
                raise DatasetError(f"{place}: {error}.") from error
            return _Written(text, spans, special=False)
        if isinstance(example, PromptCompletion):
            text = example.prompt + example.completion
            start = 0 if example.unmask else len(example.prompt)
            return _Written(text, [(start, len(text))], special=True)
        return None

    def _tokens(self, texts: list[str], special: bool) -> list[tuple[list[int], list[Span]]]:
        if not texts:
            return []
        require_offsets(self.tokenizer)
        # verbose=False: a row longer than the model's context is dropped and counted later, so no warning here.
        output: Any = self.tokenizer(
            texts, add_special_tokens=special, return_offsets_mapping=True, return_attention_mask=False, verbose=False
        )
        return [
            (list(tokens), list(offsets))
            for tokens, offsets in zip(output["input_ids"], output["offset_mapping"], strict=True)
        ]

    def _mask(self, text: str, input_ids: list[int], offsets: list[Span], spans: Sequence[Span]) -> list[bool]:
        """Which tokens stand for a character of a span; several tokens may share one character."""
        mask = [False] * len(offsets)
        ahead = iter(spans)
        span = next(ahead, None)
        seen = 0
        for number, (start, stop) in enumerate(offsets):
            # Some tokenizers trim the spaces off the offsets; a token of nothing but spaces then has none left.
            begin = seen if start == stop and start > seen else start
            seen = max(seen, stop)
            while span is not None and span[1] <= begin:
                span = next(ahead, None)
            if span is None:
                break
            if begin == stop:
                mask[number] = span[0] <= begin
            elif begin < span[1] and stop > span[0]:
                inside = span[0] <= begin and stop <= span[1]
                mask[number] = inside or self._is_within(text, input_ids[number], begin, stop, span)
        return mask

    def _is_within(self, text: str, token: int, start: int, stop: int, span: Span) -> bool:
        """Whether a token that reaches over an edge of a span belongs to it.

        A special token may swallow the space beside it, so its own text decides; any other token that stands for a
        character of the span is needed to write it.
        """
        if self._added is None:
            self._added = {int(number): str(content) for content, number in self.tokenizer.get_added_vocab().items()}
        content = self._added.get(token)
        if content is None:
            return True
        at = max(text.find(content, start, stop), start)
        return span[0] <= at < span[1]


def encode(example: Example, tokenizer: Tokenizer, place: object) -> Encoded:
    """One example's tokens and labels; for many, an Encoder is faster, as it learns the chat template once."""
    return Encoder(tokenizer).encode(example, place)


def document_tokens(document: Document, tokenizer: Tokenizer) -> list[int]:
    """A document's tokens with what the tokenizer puts around a text, and one end-of-text token."""
    output: Any = tokenizer(document.text, add_special_tokens=True, return_attention_mask=False, verbose=False)
    return _end(list(output["input_ids"]), end_of_text(tokenizer))


def blocks(documents: Iterable[Sequence[int]], block_size: int) -> Iterator[Encoded]:
    """Documents, as tokens, one after the other and cut into blocks; the last block may be shorter.

    A last block of a single token is not given, for there is nothing to predict in it.
    """
    waiting: list[int] = []
    for tokens in documents:
        waiting += tokens
        done = 0
        while len(waiting) - done >= block_size:
            yield _trained(waiting[done : done + block_size])
            done += block_size
        del waiting[:done]
    if len(waiting) > 1:
        yield _trained(waiting)


def _trained(input_ids: list[int]) -> Encoded:
    return _labelled(input_ids, [True] * len(input_ids))


def _processed(example: Processed) -> Encoded:
    return Encoded(list(example.input_ids), [IGNORED, *example.labels[1:]])


def _labelled(input_ids: list[int], mask: list[bool]) -> Encoded:
    labels = [token if trained else IGNORED for token, trained in zip(input_ids, mask, strict=True)]
    # The first token has nothing before it, so no model predicts it.
    labels[:1] = [IGNORED] * min(1, len(labels))
    return Encoded(input_ids, labels)


def _end(input_ids: list[int], eos: int) -> list[int]:
    if not input_ids or input_ids[-1] != eos:
        input_ids.append(eos)
    return input_ids
