"""The hub's own row formats: how a row of each is recognised, checked, and brought to one of four shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from training_hub.data.encode import Encoder
from training_hub.data.examples import IGNORED, Conversation, Document, Example, Message, Processed, PromptCompletion
from training_hub.data.messages import (
    calls_tools,
    checked_messages,
    checked_template_arguments,
    checked_tools,
    chosen_messages,
    full_text,
    is_sharegpt,
    require_text_only,
    sharegpt_messages,
    text_of,
)
from training_hub.data.options import DatasetOptions, RowError
from training_hub.data.row_format import EncodedRow, FormatChoice, RowFormat
from training_hub.data.tokenizer import Tokenizer, end_of_text, require_offsets, require_template
from training_hub.data.wording import kind_of, near, shown


def detect(row: object, options: DatasetOptions, formats: FormatChoice | None = None) -> str:
    """The name of the format that a row has, of those that the algorithm takes; by default the hub's own."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind_of(row)}; expected an object such as {{'messages': [...]}}")
    formats = formats or BUILTIN
    if options.format and formats.named(options.format):
        return options.format
    if found := formats.of(row, options):
        return found.name
    if elsewhere := formats.elsewhere(row, options):
        other, algorithms = elsewhere
        *most, last = algorithms
        who = f"{', '.join(most)} and {last} learn from; call one of them" if most else f"{last} learns from; call that"
        name = other.name.replace("_", " ")
        raise RowError(f"it is a {name} row ({other.expected}), which {who}, or give rows of {_expected(formats)}")
    if _is_pair(row):
        raise RowError(
            "it is a preference row, of a chosen and a rejected answer, which dpo learns from where a plugin brings "
            f"that; give rows of {_expected(formats)}"
        )
    keys = ", ".join(shown(key) for key in list(row)[:6]) or "none at all"
    for name in ("field_messages", "field_instruction", "document_column_name"):
        said = getattr(options, name)
        if said and said not in row:
            raise RowError(f"there is no key {said!r}, which {name} names; its keys are {keys}")
    telling = _TELLING_KEYS if formats is BUILTIN or formats.own == BUILTIN.own else ()
    meant = next((hint for key in list(row)[:20] if key not in telling and (hint := near(key, telling))), "")
    raise RowError(f"no known format has its keys: {keys}{meant}; expected {_expected(formats)}")


def _expected(formats: FormatChoice) -> str:
    *most, last = dict.fromkeys(each.expected for each in formats.own)
    return f"{', '.join(most)}, or {last}" if most else last


def convert(row: object, form: str, options: DatasetOptions, formats: FormatChoice | None = None) -> Any:
    """The row as an example of its format; a RowError says what is wrong with it and what was expected."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind_of(row)}; expected an object such as {{'messages': [...]}}")
    found = (formats or BUILTIN).named(form)
    assert found is not None
    return found.convert(row, options)


_TELLING_KEYS = ("messages", "conversations", "instruction", "output", "prompt", "completion", "text", "input_ids")


def _messages(row: dict[str, Any], options: DatasetOptions) -> Conversation:
    field = _turns_field(row, options)
    if field is None:
        missing = _missing(options, "field_messages", "messages")
        raise RowError(f"{missing}; expected a list of {{'role': ..., 'content': ...}}")
    messages, learnt = chosen_messages(row[field], field)
    system = _leading_system(row)
    if system and messages[0]["role"] == "system":
        raise RowError(f"'system' is there, and a system message in {field!r}, too; expected one of them")
    return _conversation([*system, *messages], row, options, learnt=[*(False for _ in system), *learnt])


def _sharegpt(row: dict[str, Any], options: DatasetOptions) -> Conversation:
    field = _turns_field(row, options)
    if field is None:
        missing = _missing(options, "field_messages", "conversations")
        raise RowError(f"{missing}; expected a list of {{'from': ..., 'value': ...}}")
    return _conversation([*_leading_system(row), *sharegpt_messages(row[field], field)], row, options)


def _alpaca(row: dict[str, Any], options: DatasetOptions) -> Conversation:
    instruction_field = options.field_instruction or "instruction"
    output_field = options.field_output or "output"
    for field, usual in ((instruction_field, "instruction"), (output_field, "output")):
        if row.get(field) is None:
            raise RowError(f"{_missing(options, f'field_{usual}', usual)}; expected a text")
    messages = _leading_system(row)
    history = row.get("history")
    if history is not None and not isinstance(history, list):
        raise RowError(f"'history' is {kind_of(history)}; expected a list of [question, answer]")
    for number, pair in enumerate(history or []):
        where = f"history[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{where} is {kind_of(pair)}; expected [question, answer]")
        messages.append({"role": "user", "content": text_of(pair[0], f"{where}[0]")})
        messages.append({"role": "assistant", "content": full_text(pair[1], f"{where}[1]")})
    question = text_of(row[instruction_field], instruction_field)
    input_field = options.field_input or "input"
    if row.get(input_field) is not None:
        more = text_of(row[input_field], input_field)
        question = "\n\n".join(part for part in (question, more) if part.strip())
    messages.append({"role": "user", "content": question})
    messages.append({"role": "assistant", "content": full_text(row[output_field], output_field)})
    return _conversation(messages, row, options)


def _prompt_completion(row: dict[str, Any], options: DatasetOptions) -> Conversation | PromptCompletion:
    prompt, completion = row.get("prompt"), row.get("completion")
    for field, value in (("prompt", prompt), ("completion", completion)):
        if value is None:
            raise RowError(f"{field!r} is missing; expected a text or a list of messages")
    if isinstance(prompt, list) and isinstance(completion, list):
        before = [*_leading_system(row), *checked_messages(prompt, "prompt")]
        answers, learnt = chosen_messages(completion, "completion")
        # All of the prompt is context, but where everything is learnt.
        whole = _unmask(row, options)
        return _conversation([*before, *answers], row, options, learnt=[*(whole for _ in before), *learnt])
    if isinstance(prompt, str) and isinstance(completion, str):
        for name in ("system", "tools", "functions", "chat_template_kwargs"):
            if row.get(name):
                raise RowError(
                    f"{name!r} is for the chat template, which does not write rows of plain texts; expected 'prompt' "
                    "and 'completion' as lists of messages"
                )
        require_text_only(row)
        _require_unlabelled(row)
        return PromptCompletion(prompt, full_text(completion, "completion"), _unmask(row, options))
    raise RowError(
        f"'prompt' is {kind_of(prompt)} and 'completion' is {kind_of(completion)}; expected two texts or two lists of "
        "messages"
    )


def _document(row: dict[str, Any], options: DatasetOptions) -> Document:
    field = _document_field(row, options)
    if field is None:
        name = options.document_column_name
        missing = repr(name) if name else "'text' (or 'document')"
        raise RowError(f"{missing} is missing; expected a text, or document_column_name set to the field that has it")
    if not options.is_pretraining:
        raise RowError(
            f"a row of plain {field!r} has nothing to answer; give is_pretraining=True to train on raw documents, "
            "or rows with 'messages'"
        )
    return Document(text_of(row[field], field))


def _processed(row: dict[str, Any], options: DatasetOptions) -> Processed:
    lists: list[tuple[int, ...]] = []
    for field in ("input_ids", "labels"):
        value = row.get(field)
        if not isinstance(value, list):
            raise RowError(
                f"{field!r} is {'missing' if value is None else kind_of(value)}; expected a list of integers"
            )
        # One pass in C for the usual row; bool is an int to isinstance, and no token.
        if set(map(type, value)) - {int}:
            wrong = next(item for item in value if type(item) is not int)
            raise RowError(f"{field!r} holds {shown(wrong)}; expected integers only")
        lists.append(tuple(value))
    input_ids, labels = lists
    if len(input_ids) != len(labels):
        raise RowError(f"'input_ids' has {len(input_ids)} items and 'labels' {len(labels)}; expected as many of each")
    if not input_ids:
        raise RowError("'input_ids' is empty; expected at least two tokens")
    if min(input_ids) < 0:
        raise RowError(f"'input_ids' holds {min(input_ids)}; expected no negative token")
    wrong_label = next((label for label in labels if label < 0 and label != IGNORED), None)
    if wrong_label is not None:
        raise RowError(f"'labels' holds {wrong_label}; expected a token, or {IGNORED} where nothing is learnt")
    if all(label == IGNORED for label in labels[1:]):
        raise RowError(f"nothing in it is trained: every label after the first is {IGNORED}; expected a token to learn")
    return Processed(input_ids, labels)


_TURNS = frozenset({"messages", "conversations", "conversation"})
_BESIDE_CONVERSATIONS = frozenset({"system", "tools", "functions", "unmask", "chat_template_kwargs"})


class _BuiltIn(RowFormat):
    """A format of the hub's own: its examples are of one of the four shapes, which the hub's encoder knows."""

    offsets: ClassVar[bool] = True
    """Whether the tokenizer must say which characters a token stands for."""
    keys: ClassVar[frozenset[str]] = frozenset()
    """The keys of its own that it reads, besides those that options name."""

    def unread(self, row: Mapping[str, Any], options: DatasetOptions) -> frozenset[str]:
        beside = _BESIDE_CONVERSATIONS if self.conversation or self.name == "prompt_completion" else frozenset()
        named = {options.field_messages, options.field_instruction, options.field_input, options.field_output}
        given = {key for key, value in row.items() if value is not None}
        return frozenset(given - self.keys - beside - named - {options.document_column_name})

    def offers_tools(self, example: Example) -> bool:
        return isinstance(example, Conversation) and bool(example.tools or calls_tools(example.messages))

    def require(self, tokenizer: Tokenizer) -> None:
        if self.conversation:
            require_template(tokenizer)
        if self.offsets:
            require_offsets(tokenizer)

    def encode(self, examples: Sequence[tuple[object, Example]], encoder: Encoder) -> Sequence[EncodedRow]:
        return encoder.encode_many(examples)


class ProcessedFormat(_BuiltIn):
    """Rows that are tokens already."""

    name: ClassVar[str] = "processed"
    keys: ClassVar[frozenset[str]] = frozenset({"input_ids", "labels"})
    expected: ClassVar[str] = "'input_ids' and 'labels'"
    offsets: ClassVar[bool] = False

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return "input_ids" in row

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Processed:
        return _processed(row, options)


class MessagesFormat(_BuiltIn):
    """Conversations of `role` and `content`."""

    name: ClassVar[str] = "messages"
    keys: ClassVar[frozenset[str]] = _TURNS
    expected: ClassVar[str] = "'messages'"
    conversation: ClassVar[bool] = True

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return _has_turns(row, options) is False

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation:
        return _messages(row, options)


class ShareGPTFormat(_BuiltIn):
    """Conversations of `from` and `value`."""

    name: ClassVar[str] = "sharegpt"
    keys: ClassVar[frozenset[str]] = _TURNS
    expected: ClassVar[str] = "'conversations'"
    conversation: ClassVar[bool] = True

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return _has_turns(row, options) is True

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation:
        return _sharegpt(row, options)


class AlpacaFormat(_BuiltIn):
    """Instruction, input and output."""

    name: ClassVar[str] = "alpaca"
    keys: ClassVar[frozenset[str]] = frozenset({"instruction", "input", "output", "history"})
    expected: ClassVar[str] = "'instruction' and 'output'"
    conversation: ClassVar[bool] = True

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        before = (ProcessedFormat, MessagesFormat, ShareGPTFormat, PromptCompletionFormat)
        named = (options.field_instruction or "instruction") in row and not _is_pair(row)
        return named and not any(kind().recognises(row, options) for kind in before)

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation:
        return _alpaca(row, options)


class PromptCompletionFormat(_BuiltIn):
    """A prompt and what follows it, as texts or as messages."""

    name: ClassVar[str] = "prompt_completion"
    keys: ClassVar[frozenset[str]] = frozenset({"prompt", "completion"})
    expected: ClassVar[str] = "'prompt' and 'completion'"

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        both = "prompt" in row and "completion" in row and "input_ids" not in row
        return both and _has_turns(row, options) is None and not _is_pair(row)

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation | PromptCompletion:
        return _prompt_completion(row, options)


class DocumentsFormat(_BuiltIn):
    """Documents of which every token is learnt."""

    name: ClassVar[str] = "documents"
    keys: ClassVar[frozenset[str]] = frozenset({"text", "document"})
    expected: ClassVar[str] = "'text'"
    offsets: ClassVar[bool] = False

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        before = (ProcessedFormat, MessagesFormat, ShareGPTFormat, PromptCompletionFormat, AlpacaFormat)
        named = _document_field(row, options) is not None and not _is_pair(row)
        return named and not any(kind().recognises(row, options) for kind in before)

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Document:
        return _document(row, options)

    def require(self, tokenizer: Tokenizer) -> None:
        end_of_text(tokenizer)


BUILTIN: Final = FormatChoice(
    (
        MessagesFormat(),
        ShareGPTFormat(),
        AlpacaFormat(),
        PromptCompletionFormat(),
        DocumentsFormat(),
        ProcessedFormat(),
    )
)
"""The hub's own formats, which `sft`, `osft` and `lora_sft` take."""


def _has_turns(row: Mapping[str, Any], options: DatasetOptions) -> bool | None:
    """Whether the turns of a conversation are ShareGPT's; None where there are none."""
    if "input_ids" in row or _is_pair(row):
        return None
    turns = _turns_field(row, options)
    return None if turns is None else is_sharegpt(row[turns])


def _is_pair(row: Mapping[str, Any]) -> bool:
    """Whether a row holds two answers, of which one is the better: nothing to continue in the one way."""
    return row.get("chosen") is not None and row.get("rejected") is not None


def _conversation(
    messages: list[Message], row: dict[str, Any], options: DatasetOptions, learnt: Sequence[bool] | None = None
) -> Conversation:
    """The messages, of which the assistant's are trained, or all but the system's; `learnt` may except some."""
    roles = {str(message["role"]) for message in messages} - {"system"} if _unmask(row, options) else {"assistant"}
    trained = tuple(
        index
        for index, message in enumerate(messages)
        if message["role"] in roles and (learnt is None or learnt[index])
    )
    if not trained:
        none = "no assistant turn to train on; expected at least one message with role 'assistant'"
        some = any(message["role"] == "assistant" for message in messages)
        raise RowError(f"{none} that is learnt" if some else none)
    require_text_only(row)
    _require_unlabelled(row)
    return Conversation(tuple(messages), trained, checked_tools(row), checked_template_arguments(row))


def _require_unlabelled(row: Mapping[str, Any]) -> None:
    if isinstance(row.get("label"), bool):
        raise RowError(
            "'label' says whether the answer is a good one, as rows for KTO do, and sft would learn the bad ones, too; "
            "expected rows without it, of good answers alone"
        )


def _leading_system(row: dict[str, Any]) -> list[Message]:
    system = row.get("system")
    if system is None or system == "":
        return []
    return [{"role": "system", "content": text_of(system, "system")}]


def _unmask(row: dict[str, Any], options: DatasetOptions) -> bool:
    said = row.get("unmask")
    if said is not None and not isinstance(said, bool):
        raise RowError(f"'unmask' is {shown(said)}; expected true or false")
    return options.unmask or bool(said)


def _turns_field(row: Mapping[str, Any], options: DatasetOptions) -> str | None:
    names = (options.field_messages,) if options.field_messages else ("messages", "conversations", "conversation")
    return next((name for name in names if row.get(name) is not None), None)


def _missing(options: DatasetOptions, name: str, usual: str) -> str:
    named = getattr(options, name)
    return f"{named!r} is missing, which {name} names" if named else f"{usual!r} is missing"


def _document_field(row: Mapping[str, Any], options: DatasetOptions) -> str | None:
    names = (options.document_column_name,) if options.document_column_name else ("text", "document")
    return next((name for name in names if row.get(name) is not None), None)
