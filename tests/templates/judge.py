"""Judges, by other means than the hub's, what the hub trains of a row with a template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from collection import Template

from training_hub.data import DatasetOptions, Encoder, convert
from training_hub.data.options import RowError
from training_hub.errors import UserError

WORDS = re.compile(r"(?:USR|AST|SYS|TOL|ARG|RSN)\w")
OWN = ("AST", "ARG", "RSN")
IGNORED = -100


@dataclass(frozen=True)
class Verdict:
    """What became of a row: `exact`, `refused`, or `wrong`, with what there is to say of it."""

    outcome: str
    why: str = ""
    warnings: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()


class Judge:
    """Of one template."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.tokenizer = template.tokenizer()

    def judge(self, row: dict[str, Any]) -> Verdict:
        form = "prompt_completion" if "prompt" in row else "messages"
        encoder = Encoder(self.tokenizer)
        try:
            example = convert(row, form, DatasetOptions())
            encoded = encoder.encode(example, "row")
        except (RowError, UserError) as error:
            return self._refused(row, str(error).removeprefix("row: "))
        trained = tuple(self._runs(encoded.labels))
        problems = list(self._problems(example, encoded, trained))
        return Verdict("wrong" if problems else "exact", "; ".join(problems), encoder.warnings, trained)

    def _runs(self, labels: list[int]) -> Iterator[str]:
        run: list[int] = []
        for label in [*labels, IGNORED]:
            if label != IGNORED:
                run.append(label)
            elif run:
                yield self.tokenizer.decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False)
                run = []

    def _write(self, example: Any, count: int | None = None, prompt: bool = False) -> str | None:
        """The first messages as the tokenizer writes them, in the way in which the template writes most of them."""
        messages = list(example.messages[:count])
        words = set(WORDS.findall(json.dumps(messages)))
        found: list[str] = []
        for given in (messages, thought_apart(messages), parts(messages)):
            try:
                text = self.tokenizer.apply_chat_template(
                    given,
                    tools=list(example.tools) or None,
                    tokenize=False,
                    add_generation_prompt=prompt,
                    **example.template_arguments,
                )
            except Exception:
                continue  # a template may refuse
            if "[{'" not in text:
                found.append(text)
        return max(found, key=lambda text: sum(word in text for word in words), default=None)

    def _refused(self, row: dict[str, Any], why: str) -> Verdict:
        """Rightly, unless the template writes all of the row's words, and calls as JSON or by name."""
        try:
            example = convert(row, "prompt_completion" if "prompt" in row else "messages", DatasetOptions())
        except RowError:
            return Verdict("refused", why)
        text = self._write(example)
        if text is None or "as Python does" in why:
            return Verdict("refused", why)
        words = set(WORDS.findall(json.dumps(row)))
        asked = [tool["function"]["name"] for tool in example.tools]
        called = [call["function"]["name"] for message in example.messages for call in message.get("tool_calls", ())]
        if text.count("get_weather") < len(asked) + len(called):
            return Verdict("refused", why)
        if all(word in text for word in words):
            return Verdict("wrong", f"refused though written: {why}")
        return Verdict("refused", why)

    def _problems(self, example: Any, encoded: Any, trained: tuple[str, ...]) -> Iterator[str]:
        text = self._write(example)
        if text is not None:
            whole = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if whole != encoded.input_ids and "{" not in text:
                yield "other tokens than apply_chat_template's"
        said = "".join(trained)
        learnt, context = self._words(example)
        lost = [word for word in learnt if word not in said and not word.startswith("RSN")]
        if lost:
            yield f"not trained: {', '.join(lost)}"
        wrong = [word for word in context if word in said]
        if wrong:
            yield f"trained: {', '.join(wrong)}"
        if text is None:
            return
        roles = {message["role"] for number, message in enumerate(example.messages) if number in example.trained}
        if roles != {"assistant"}:
            return
        yield from self._by_prefixes(example, text, trained)
        yield from self._by_marks(example, text, encoded)

    def _words(self, example: Any) -> tuple[list[str], list[str]]:
        learnt: list[str] = []
        context: list[str] = []
        for number, message in enumerate(example.messages):
            (learnt if number in example.trained else context).extend(WORDS.findall(json.dumps(message)))
        context += WORDS.findall(json.dumps(example.tools))
        return learnt, [word for word in context if word not in learnt]

    def _by_prefixes(self, example: Any, text: str, trained: tuple[str, ...]) -> Iterator[str]:
        """Where the text begins as the render of fewer messages does, what is beyond the prompt is the turn."""
        said = "".join(trained)
        at = 0
        for index in example.trained:
            opened = self._write(example, index, prompt=True) if index else None
            closed = self._write(example, index + 1)
            before = self._write(example, index) if index else None
            if opened is None or closed is None or not text.startswith(opened) or not text.startswith(closed):
                continue
            if opened == before and not closed.endswith(opened[-20:]):
                continue  # without a generation prompt there is no saying what of the turn is its header
            turn = closed[len(opened) :]
            eos = self.tokenizer.eos_token
            turn = turn[: turn.index(eos) + len(eos)] if eos in turn else turn.rstrip()
            found = said.find(turn, at)
            if found < 0:
                yield f"turn {index}: {turn!r} is beyond the prompt; trained: {trained}"
            else:
                at = found + len(turn)

    def _by_marks(self, example: Any, text: str, encoded: Any) -> Iterator[str]:
        """Against the masks that `{% generation %}` gives, where the package marks the same text."""
        if self.template.marked is None or set(example.trained) != {
            number for number, message in enumerate(example.messages) if message["role"] == "assistant"
        }:
            return
        try:
            marked = self.tokenizer.apply_chat_template(
                list(example.messages),
                tools=list(example.tools) or None,
                chat_template=self.template.marked,
                return_assistant_tokens_mask=True,
                return_dict=True,
                **example.template_arguments,
            )
        except Exception:
            return
        if marked["input_ids"] != encoded.input_ids:
            return
        marks = marked["assistant_masks"]
        theirs = list(self._runs([t if m else IGNORED for t, m in zip(marked["input_ids"], marks, strict=True)]))
        ours = list(self._runs(encoded.labels))
        prompts = {self._write(example, index, prompt=True) or "" for index in example.trained}
        given = "".join([*prompts, self._prompt()])
        if len(ours) != len(theirs):
            # Of turns after one another the marks may be one run.
            ours, theirs = ["".join(ours)], ["".join(theirs).replace(self._prompt().split("<think>")[0], "")]
        if not all(map(partial(self._agree, given), ours, theirs)):
            yield f"marked: {theirs}; trained: {ours}"

    def _prompt(self) -> str:
        """The generation prompt."""
        question = [{"role": "user", "content": "x"}]
        closed, opened = (
            self.tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=prompt)
            for prompt in (False, True)
        )
        shared = next(
            (at for at, pair in enumerate(zip(closed, opened, strict=False)) if pair[0] != pair[1]), len(closed)
        )
        return str(opened[shared:])

    def _agree(self, given: str, ours: str, theirs: str) -> bool:
        """Whether a marked run is the trained one; marks may have the space behind the end, and what is given.

        What the generation prompt has already, or has otherwise (an empty reasoning), the model does not write. The
        token before a tool's result, at which a model that calls stops, is trained and not marked.
        """
        core = ours.strip()
        if core not in theirs:
            core = core.removesuffix("<|tool_response>")
        at = theirs.find(core)
        before, behind = theirs[:at].strip(), theirs[at + len(core) :].strip()
        return at >= 0 and (before in given or before == "<think></think>") and behind in ("", self.tokenizer.eos_token)


def thought_apart(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is thought at the beginning of an answer under a key of its own."""
    found = []
    for message in messages:
        thought, closed, answer = str(message.get("content", "")).removeprefix("<think>").partition("</think>")
        apart = message["role"] == "assistant" and message.get("content", "").startswith("<think>") and closed
        more = {"content": answer.lstrip("\n"), "reasoning_content": thought.strip("\n")} if apart else {}
        found.append({**message, **more})
    return found


def parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Contents as lists of parts."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]} if message.get("content") else message
        for message in messages
    ]
