"""An algorithm that the hub does not have: learning from votes, with few parameters, its own rows and its own figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from typing_extensions import TypedDict

from training_hub.plugin import (
    Algorithm,
    Callbacks,
    Continuity,
    DatasetOptions,
    Encoder,
    Essentials,
    Figure,
    Param,
    RowError,
    RowFormat,
)


class VotesOptions(TypedDict, total=False):
    """Learning from votes."""

    strength: Annotated[float, Gt(0), Param(0.1, "How much a vote counts.")]


class VotesParameters(Essentials, VotesOptions, Callbacks, Continuity, total=False):
    """Parameters of `votes`: three of the hub's groups, and its own."""


@dataclass(frozen=True)
class Vote:
    """Two answers, the first of which was preferred."""

    better: str
    worse: str


@dataclass(frozen=True)
class EncodedVote:
    """Both answers as tokens; here, characters are."""

    better: tuple[int, ...]
    worse: tuple[int, ...]

    @property
    def length(self) -> int:
        return max(len(self.better), len(self.worse))

    @property
    def total_tokens(self) -> int:
        return len(self.better) + len(self.worse)

    @property
    def trained_tokens(self) -> int:
        return self.total_tokens


class VoteFormat(RowFormat):
    """`{"better": "...", "worse": "..."}`."""

    name: ClassVar[str] = "votes"
    expected: ClassVar[str] = "'better' and 'worse'"

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return "better" in row and "worse" in row

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Vote:
        for key in ("better", "worse"):
            if not isinstance(row.get(key), str) or not row[key]:
                raise RowError(f"{key!r} is {row.get(key)!r}; expected a text")
        return Vote(row["better"], row["worse"])

    def encode(self, examples: Sequence[tuple[object, Vote]], encoder: Encoder) -> list[EncodedVote]:
        return [EncodedVote(tuple(map(ord, vote.better)), tuple(map(ord, vote.worse))) for _, vote in examples]


class VotesAlgorithm(Algorithm):
    """Learns which of two answers is better."""

    name: ClassVar[str] = "votes"
    parameters: ClassVar[type] = VotesParameters
    recommended_backends: ClassVar[tuple[str, ...]] = ("counting",)
    row_formats: ClassVar[tuple[str, ...]] = ("votes",)
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("loss", "nats a vote", less_is_better=True),
        Figure("agreement", "share of votes", less_is_better=False),
    )
