"""How a chat template writes plain conversations, learnt from one, so that the others need not be followed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from training_hub.data.examples import Message
from training_hub.data.frames import Frame
from training_hub.data.traced import CONTENT, Run, Traced


class Plan(NamedTuple):
    """Texts of the template's own, and whole contents, as conversations of the same roles have them."""

    runs: tuple[Run, ...]
    texts: tuple[str, ...]
    frames: Mapping[int, tuple[int, int, Frame]]
    """By trained message: a run and a place in it, where the generation prompt stands, and the rest."""

    def write(self, contents: Sequence[str]) -> tuple[Traced, dict[int, Frame]]:
        """What the template writes for these contents, if it treats them as it did others."""
        texts = [
            contents[run.message] if run.source == CONTENT and run.message is not None else text
            for run, text in zip(self.runs, self.texts, strict=True)
        ]
        runs = [run._replace(length=len(text)) for run, text in zip(self.runs, texts, strict=True)]
        starts = [0, *accumulate(map(len, texts))]
        frames = {i: frame._replace(at=starts[run] + place) for i, (run, place, frame) in self.frames.items()}
        return Traced("".join(texts), runs), frames

    def fit(self, text: str, contents: Sequence[str]) -> tuple[Traced, dict[int, Frame]] | None:
        """A text with its runs, where it is just what the plan writes for these contents."""
        for written in (contents, [content.strip() for content in contents]):
            traced, frames = self.write(written)
            if traced == text:
                return traced, frames
        return None


def plain_roles(messages: Sequence[Message]) -> tuple[str, ...] | None:
    """The roles, where no message has more than a role and a text."""
    if any(message.keys() != {"role", "content"} or not isinstance(message["content"], str) for message in messages):
        return None
    return tuple(str(message["role"]) for message in messages)


def learn(text: Traced, messages: Sequence[Message], frames: Mapping[int, Frame]) -> Plan | None:
    """The plan of a plain conversation; None where the template does more with a content than to write it whole."""
    starts = [0, *accumulate(run.length for run in text.runs)]
    texts = [str.__getitem__(text, slice(start, stop)) for start, stop in pairwise(starts)]
    for run, piece in zip(text.runs, texts, strict=True):
        if run.source == CONTENT and (
            run.message is None or piece.strip() != str(messages[run.message]["content"]).strip()
        ):
            return None
    places = {}
    for index, frame in frames.items():
        number = max(n for n, start in enumerate(starts[:-1]) if start <= frame.at)
        place = frame.at - starts[number]
        if place and text.runs[number].source == CONTENT:
            return None
        places[index] = (number, place, frame)
    return Plan(text.runs, tuple(texts), places)
