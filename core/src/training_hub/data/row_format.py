"""What a form of rows is: how a row of it is recognised, checked, converted and encoded."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from training_hub.errors import DatasetError

if TYPE_CHECKING:
    from training_hub.data.encode import Encoder
    from training_hub.data.options import DatasetOptions
    from training_hub.data.tokenizer import Tokenizer

logger = logging.getLogger("training_hub")


class EncodedRow(Protocol):
    """A row as tokens, of whatever form."""

    @property
    def length(self) -> int:
        """Tokens of the longest sequence in it, which `max_seq_len` bounds."""

    @property
    def total_tokens(self) -> int:
        """Tokens of all its sequences."""

    @property
    def trained_tokens(self) -> int:
        """Tokens that are learnt."""


class RowFormat(ABC):
    """A form of rows. A plugin brings one by the hook `training_hub_row_formats`; an algorithm names those it takes.

    The hub reads files, names bad rows by file and line, leaves out rows that are too long, and splits off validation
    rows; a form says what one row is.
    """

    name: ClassVar[str]
    """Its name, as in manifests and messages."""
    expected: ClassVar[str]
    """The keys of a row, for messages: `'prompt' and 'completion'`."""
    conversation: ClassVar[bool] = False
    """Whether its rows are written by the model's chat template."""

    @abstractmethod
    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        """Whether a row has this form, told from its keys.

        A row that is merely wrong in it is recognised, also one that lacks a key: `convert` says what is wrong. Of the
        forms that one algorithm takes, only one may recognise a row.
        """

    @abstractmethod
    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Any:
        """The row as an example, for `encode`.

        Raises:
            RowError: What is wrong with it, and what was expected; the hub adds file and line.
        """

    def offers_tools(self, example: Any) -> bool:
        """Whether an example offers tools or calls them, which not every chat template can write."""
        return False

    def unread(self, row: Mapping[str, Any], options: DatasetOptions) -> frozenset[str]:
        """Keys of a row of this form that nothing reads, which a user is told of; by default none is known."""
        return frozenset()

    def require(self, tokenizer: Tokenizer) -> None:  # noqa: B027 - most forms need nothing
        """Refuse, before any row is encoded, a tokenizer that lacks what the form needs.

        Raises:
            ModelError: It does.
        """

    @abstractmethod
    def encode(self, examples: Sequence[tuple[object, Any]], encoder: Encoder) -> Sequence[EncodedRow]:
        """Examples as tokens, in order; several at once, as a tokenizer is quicker with many texts.

        Args:
            examples: Each with its place, which names the row in an error.
            encoder: The hub's, with the tokenizer.

        Raises:
            DatasetError: A row cannot be encoded.
        """


@dataclass(frozen=True)
class FormatChoice:
    """The forms that an algorithm takes, and those that others do."""

    own: tuple[RowFormat, ...]
    others: Mapping[str, tuple[RowFormat, tuple[str, ...]]] = field(default_factory=dict)
    """By name: forms that the algorithm does not take, and the algorithms that do."""

    def named(self, name: str) -> RowFormat | None:
        """The form of that name, among those that the algorithm takes."""
        return next((each for each in self.own if each.name == name), None)

    def of(self, row: Mapping[str, Any], options: DatasetOptions) -> RowFormat | None:
        """The form that a row has; None where it has none of those that the algorithm takes.

        Raises:
            DatasetError: Two of them recognise it, or one fails at that.
        """
        found = []
        for each in self.own:
            try:
                if each.recognises(row, options):
                    found.append(each)
            except Exception as error:
                raise DatasetError(
                    f"the row format {each.name!r} ({type(each).__module__}) fails at recognising a row: "
                    f"{type(error).__name__}: {error}"
                ) from error
        if len(found) > 1:
            both = " and ".join(f"{each.name!r} ({type(each).__module__})" for each in found)
            raise DatasetError(f"the row formats {both} both recognise a row; say which it is with dataset_type")
        return found[0] if found else None

    def elsewhere(self, row: Mapping[str, Any], options: DatasetOptions) -> tuple[RowFormat, tuple[str, ...]] | None:
        """A form that other algorithms take and that the row has, with those algorithms."""
        for each, algorithms in self.others.values():
            try:
                if each.recognises(row, options):
                    return each, algorithms
            # Of a plugin that is not asked for: it stops nobody.
            except Exception as error:
                logger.warning("the row format %r (%s) fails: %s", each.name, type(each).__module__, error)
        return None
