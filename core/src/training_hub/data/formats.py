"""The hub's own row formats: how a row of each is recognised, checked, and brought to one of four shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from training_hub.data.files import parse_json
from training_hub.data.row_format import EncodedRow, FormatChoice, RowFormat
from training_hub.data.tokenizer import Tokenizer, end_of_text, require_offsets, require_template
from training_hub.errors import ParameterError, nearest

if TYPE_CHECKING:
    from training_hub.data.encode import Encoder

FORMATS: Final = ("messages", "sharegpt", "alpaca", "prompt_completion", "documents", "processed")
ALIASES: Final[Mapping[str, str]] = {"chat_template": "messages", "passthrough": "documents"}
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
REASONING: Final = ("reasoning_content", "reasoning", "thinking")
IGNORED: Final = -100

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What the caller says about the dataset; everything left out is read off the rows."""

    dataset_type: str | None = None
    field_messages: str | None = None
    field_instruction: str | None = None
    field_input: str | None = None
    field_output: str | None = None
    is_pretraining: bool = False
    document_column_name: str | None = None
    use_processed_dataset: bool = False
    unmask: bool = False

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> DatasetOptions:
        """From the parameters of any algorithm."""
        return cls(
            dataset_type=parameters.get("dataset_type"),
            field_messages=parameters.get("field_messages"),
            field_instruction=parameters.get("field_instruction"),
            field_input=parameters.get("field_input"),
            field_output=parameters.get("field_output"),
            is_pretraining=parameters["is_pretraining"],
            document_column_name=parameters["document_column_name"],
            use_processed_dataset=bool(parameters.get("use_processed_dataset")),
            unmask=bool(parameters.get("unmask_messages")),
        )

    def __post_init__(self) -> None:
        wanted = {
            name: said
            for name, said in (
                (f"dataset_type={self.dataset_type!r}", self.dataset_type and self._named()),
                ("is_pretraining=True", "documents" if self.is_pretraining else None),
                ("use_processed_dataset=True", "processed" if self.use_processed_dataset else None),
            )
            if said
        }
        if len(set(wanted.values())) > 1:
            raise ParameterError(f"{' and '.join(wanted)} contradict each other; give one of them.")

    def _named(self) -> str:
        name = str(self.dataset_type)
        known = ALIASES.get(name, name)
        if known not in FORMATS:
            every = (*FORMATS, *ALIASES)
            raise ParameterError(
                f"dataset_type={name!r} is not a dataset format{_near(name, every)}; give one of {', '.join(every)}."
            )
        return known

    @property
    def format(self) -> str | None:
        """The format that was asked for, or None when the rows decide."""
        if self.is_pretraining:
            return "documents"
        if self.use_processed_dataset:
            return "processed"
        return self._named() if self.dataset_type else None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages for the chat template; `trained` are the indices of those whose text is learnt."""

    messages: tuple[Message, ...]
    trained: tuple[int, ...]
    tools: tuple[Message, ...] = ()


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


class RowError(Exception):
    """What is wrong with a row; whoever knows the row's place makes a DatasetError of it."""


def detect(row: object, options: DatasetOptions, formats: FormatChoice | None = None) -> str:
    """The name of the format that a row has, of those that the algorithm takes; by default the hub's own."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {_kind(row)}; expected an object such as {{'messages': [...]}}")
    formats = formats or BUILTIN
    if options.format and formats.named(options.format):
        return options.format
    if found := formats.of(row, options):
        return found.name
    if elsewhere := formats.elsewhere(row, options):
        other, algorithms = elsewhere
        *most, last = algorithms
        who = f"{', '.join(most)} and {last} learn from; call one of them" if most else f"{last} learns from; call that"
        raise RowError(f"it is a row of {other.expected}, which {who}, or give rows of {_expected(formats)}")
    if _is_pair(row):
        raise RowError(
            f"it holds a chosen and a rejected answer, which dpo learns from; give rows of {_expected(formats)}"
        )
    keys = ", ".join(_shown(key) for key in list(row)[:6]) or "none at all"
    for name in ("field_messages", "field_instruction", "document_column_name"):
        said = getattr(options, name)
        if said and said not in row:
            raise RowError(f"there is no key {said!r}, which {name} names; its keys are {keys}")
    telling = _TELLING_KEYS if formats is BUILTIN or formats.own == BUILTIN.own else ()
    near = next((hint for key in list(row)[:20] if (hint := _near(key, telling))), "")
    raise RowError(f"no known format has its keys: {keys}{near}; expected {_expected(formats)}")


def _expected(formats: FormatChoice) -> str:
    *most, last = dict.fromkeys(each.expected for each in formats.own)
    return f"{', '.join(most)}, or {last}" if most else last


def convert(row: object, form: str, options: DatasetOptions, formats: FormatChoice | None = None) -> Any:
    """The row as an example of its format; a RowError says what is wrong with it and what was expected."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {_kind(row)}; expected an object such as {{'messages': [...]}}")
    found = (formats or BUILTIN).named(form)
    assert found is not None
    return found.convert(row, options)


_TELLING_KEYS = ("messages", "conversations", "instruction", "output", "prompt", "completion", "text", "input_ids")
_OTHER_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "function": "tool"}
_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}


def _messages(row: dict[str, Any], options: DatasetOptions) -> Conversation:
    field = _turns_field(row, options)
    if field is None:
        missing = _missing(options, "field_messages", "messages")
        raise RowError(f"{missing}; expected a list of {{'role': ..., 'content': ...}}")
    return _conversation(checked_messages(row[field], field), row, options)


def _sharegpt(row: dict[str, Any], options: DatasetOptions) -> Conversation:
    field = _turns_field(row, options)
    if field is None:
        missing = _missing(options, "field_messages", "conversations")
        raise RowError(f"{missing}; expected a list of {{'from': ..., 'value': ...}}")
    return _conversation([*_leading_system(row), *_sharegpt_messages(row[field], field)], row, options)


def _sharegpt_messages(value: object, field: str) -> list[Message]:
    return [_sharegpt_message(turn, f"{field}[{number}]") for number, turn in enumerate(_list_of_turns(value, field))]


def _sharegpt_message(turn: object, where: str) -> Message:
    if not isinstance(turn, dict):
        raise RowError(f"{where} is {_kind(turn)}; expected {{'from': ..., 'value': ...}}")
    source = turn.get("from")
    value = turn.get("value")
    if source == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": _function_calls(value, f"{where}.value")}
    role = _SHAREGPT_ROLES.get(source) if isinstance(source, str) else None
    if role is None:
        known = (*_SHAREGPT_ROLES, "function_call")
        raise RowError(f"{where}.from is {_shown(source)}{_near(source, known)}; expected one of {', '.join(known)}")
    text = _text(value, f"{where}.value")
    if role == "assistant" and not text.strip():
        raise RowError(f"{where}.value is empty; expected the assistant's text")
    return {"role": role, "content": text}


def _function_calls(value: object, where: str) -> list[Message]:
    if isinstance(value, str):
        value, problem = parse_json(value)
        if problem:
            raise RowError(f'{where} is not JSON ({problem}); expected {{"name": ..., "arguments": {{...}}}}')
    return _tool_calls(value if isinstance(value, list) else [value], where)


def _alpaca(row: dict[str, Any], options: DatasetOptions) -> Conversation:
    instruction_field = options.field_instruction or "instruction"
    output_field = options.field_output or "output"
    for field, usual in ((instruction_field, "instruction"), (output_field, "output")):
        if row.get(field) is None:
            raise RowError(f"{_missing(options, f'field_{usual}', usual)}; expected a text")
    messages = _leading_system(row)
    history = row.get("history")
    if history is not None and not isinstance(history, list):
        raise RowError(f"'history' is {_kind(history)}; expected a list of [question, answer]")
    for number, pair in enumerate(history or []):
        where = f"history[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{where} is {_kind(pair)}; expected [question, answer]")
        messages.append({"role": "user", "content": _text(pair[0], f"{where}[0]")})
        messages.append({"role": "assistant", "content": _full_text(pair[1], f"{where}[1]")})
    question = _text(row[instruction_field], instruction_field)
    input_field = options.field_input or "input"
    if row.get(input_field) is not None:
        more = _text(row[input_field], input_field)
        question = "\n\n".join(part for part in (question, more) if part.strip())
    messages.append({"role": "user", "content": question})
    messages.append({"role": "assistant", "content": _full_text(row[output_field], output_field)})
    return _conversation(messages, row, options)


def _prompt_completion(row: dict[str, Any], options: DatasetOptions) -> Conversation | PromptCompletion:
    prompt, completion = row.get("prompt"), row.get("completion")
    for field, value in (("prompt", prompt), ("completion", completion)):
        if value is None:
            raise RowError(f"{field!r} is missing; expected a text or a list of messages")
    if isinstance(prompt, list) and isinstance(completion, list):
        before = checked_messages(prompt, "prompt")
        return _conversation(
            [*before, *checked_messages(completion, "completion")], row, options, first_trained=len(before)
        )
    if isinstance(prompt, str) and isinstance(completion, str):
        return PromptCompletion(prompt, _full_text(completion, "completion"), _unmask(row, options))
    raise RowError(
        f"'prompt' is {_kind(prompt)} and 'completion' is {_kind(completion)}; expected two texts or two lists of "
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
    return Document(_text(row[field], field))


def _processed(row: dict[str, Any], options: DatasetOptions) -> Processed:
    lists: list[tuple[int, ...]] = []
    for field in ("input_ids", "labels"):
        value = row.get(field)
        if not isinstance(value, list):
            raise RowError(f"{field!r} is {'missing' if value is None else _kind(value)}; expected a list of integers")
        # One pass in C for the usual row; bool is an int to isinstance, and no token.
        if set(map(type, value)) - {int}:
            wrong = next(item for item in value if type(item) is not int)
            raise RowError(f"{field!r} holds {_shown(wrong)}; expected integers only")
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


class _BuiltIn(RowFormat):
    """A format of the hub's own: its examples are of one of the four shapes, which the hub's encoder knows."""

    offsets: ClassVar[bool] = True
    """Whether the tokenizer must say which characters a token stands for."""

    def offers_tools(self, example: Example) -> bool:
        return isinstance(example, Conversation) and bool(example.tools or _calls_tools(example.messages))

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
    expected: ClassVar[str] = "'input_ids' and 'labels'"
    offsets: ClassVar[bool] = False

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return "input_ids" in row

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Processed:
        return _processed(row, options)


class MessagesFormat(_BuiltIn):
    """Conversations of `role` and `content`."""

    name: ClassVar[str] = "messages"
    expected: ClassVar[str] = "'messages'"
    conversation: ClassVar[bool] = True

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return _has_turns(row, options) is False

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation:
        return _messages(row, options)


class ShareGPTFormat(_BuiltIn):
    """Conversations of `from` and `value`."""

    name: ClassVar[str] = "sharegpt"
    expected: ClassVar[str] = "'conversations'"
    conversation: ClassVar[bool] = True

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return _has_turns(row, options) is True

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation:
        return _sharegpt(row, options)


class AlpacaFormat(_BuiltIn):
    """Instruction, input and output."""

    name: ClassVar[str] = "alpaca"
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
    expected: ClassVar[str] = "'prompt' and 'completion'"

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        both = "prompt" in row and "completion" in row and "input_ids" not in row
        return both and _has_turns(row, options) is None and not _is_pair(row)

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Conversation | PromptCompletion:
        return _prompt_completion(row, options)


class DocumentsFormat(_BuiltIn):
    """Documents of which every token is learnt."""

    name: ClassVar[str] = "documents"
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
    return None if turns is None else _is_sharegpt(row[turns])


def _is_pair(row: Mapping[str, Any]) -> bool:
    """Whether a row holds two answers, of which one is the better: nothing to continue in the one way."""
    return row.get("chosen") is not None and row.get("rejected") is not None


def _conversation(
    messages: list[Message], row: dict[str, Any], options: DatasetOptions, first_trained: int = 0
) -> Conversation:
    if _unmask(row, options):
        trained = tuple(index for index, message in enumerate(messages) if message["role"] != "system")
    else:
        trained = tuple(
            index for index, message in enumerate(messages) if index >= first_trained and message["role"] == "assistant"
        )
    if not trained:
        raise RowError("no assistant turn to train on; expected at least one message with role 'assistant'")
    return Conversation(tuple(messages), trained, checked_tools(row))


def checked_messages(value: object, field: str) -> list[Message]:
    """The messages in a row's field, checked one by one and brought to one form.

    Raises:
        RowError: One is wrong; the error says which and how.
    """
    return [_message(item, f"{field}[{number}]") for number, item in enumerate(_list_of_turns(value, field))]


def checked_turns(value: object, field: str) -> list[Message]:
    """The turns in a row's field as messages: messages, or ShareGPT's `from` and `value`, as the first of them has.

    Raises:
        RowError: One is wrong; the error says which and how.
    """
    return _sharegpt_messages(value, field) if _is_sharegpt(value) else checked_messages(value, field)


def _list_of_turns(value: object, field: str) -> list[object]:
    if not isinstance(value, list):
        raise RowError(f"{field!r} is {_kind(value)}; expected a list of messages")
    if not value:
        raise RowError(f"{field!r} is empty; expected at least a user and an assistant message")
    return value


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict):
        raise RowError(f"{where} is {_kind(item)}; expected {{'role': ..., 'content': ...}}")
    role = item.get("role")
    if role not in ROLES:
        _refuse_role(role, where)
    # Parquet writes null where a row lacks a key, so null and absent are one.
    message: Message = {key: value for key, value in item.items() if value is not None}
    if "function_call" in message:
        raise RowError(f"{where} has the old 'function_call'; expected 'tool_calls': [{{'function': ...}}]")
    for name in REASONING:
        if name in message and not isinstance(message[name], str):
            raise RowError(f"{where}.{name} is {_kind(message[name])}; expected a text")
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise RowError(f"{where}.tool_calls is {_kind(calls)}; expected a list of calls")
        if role != "assistant" and calls:
            raise RowError(f"{where} has tool_calls and role {role!r}; expected them on an 'assistant' message only")
        message["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
        if not calls:
            del message["tool_calls"]
    if "content" not in message and role == "assistant" and (calls or has_reasoning(message)):
        # A template may join the content to a text, which None would break.
        message["content"] = ""
    message["content"] = _text(message.get("content"), f"{where}.content")
    if role == "assistant" and not (message["content"].strip() or calls or has_reasoning(message)):
        raise RowError(f"{where} is an empty assistant turn; expected content or tool_calls")
    return message


def has_reasoning(message: Message) -> bool:
    """Whether a message carries reasoning beside its content."""
    return any(str(message.get(name, "")).strip() for name in REASONING)


def _refuse_role(role: object, where: str) -> NoReturn:
    if role is None:
        raise RowError(f"{where}.role is missing; expected one of {', '.join(ROLES)}")
    meant = _OTHER_ROLES.get(role) if isinstance(role, str) else None
    near = f" (did you mean {meant!r}?)" if meant else _near(role, ROLES)
    raise RowError(f"{where}.role is {_shown(role)}{near}; expected one of {', '.join(ROLES)}")


def _tool_calls(calls: list[Any], where: str) -> list[Message]:
    return [_tool_call(call, f"{where}[{number}]") for number, call in enumerate(calls)]


def _tool_call(call: object, where: str) -> Message:
    if not isinstance(call, dict):
        raise RowError(f"{where} is {_kind(call)}; expected {{'function': {{'name': ..., 'arguments': {{...}}}}}}")
    given = call.get("function")
    function = call if given is None else given
    if not isinstance(function, dict):
        raise RowError(f"{where}.function is {_kind(function)}; expected {{'name': ..., 'arguments': {{...}}}}")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise RowError(f"{where} has no function name; expected {{'function': {{'name': ..., 'arguments': {{...}}}}}}")
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        arguments, problem = parse_json(arguments)
        if problem:
            raise RowError(f"{where}: the arguments of {name!r} are not JSON ({problem}); expected an object")
    arguments = {} if arguments is None or arguments == "" else arguments
    if not isinstance(arguments, dict):
        raise RowError(f"{where}: the arguments of {name!r} are {_kind(arguments)}; expected an object")
    if given is None:
        return {"type": "function", "function": {"name": name, "arguments": arguments}}
    kept = {key: value for key, value in call.items() if value is not None}
    rest = {key: value for key, value in function.items() if value is not None}
    return {"type": "function", **kept, "function": {**rest, "arguments": arguments}}


def checked_tools(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The tools that a row offers under `tools`, as a list or as JSON, checked one by one and brought to one form.

    Raises:
        RowError: One is wrong; the error says which and how.
    """
    tools = row.get("tools")
    if isinstance(tools, str) and tools.strip():
        tools, problem = parse_json(tools)
        if problem:
            raise RowError(f"'tools' is not JSON ({problem}); expected a list of tool definitions")
    if tools is None or tools == "":
        return ()
    if not isinstance(tools, list):
        raise RowError(f"'tools' is {_kind(tools)}; expected a list of tool definitions")
    return tuple(_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools))


def _calls_tools(messages: Iterable[Message]) -> bool:
    return any("tool_calls" in message for message in messages)


def _tool(tool: object, where: str) -> Message:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(tool, dict) or not isinstance(name, str) or not name:
        raise RowError(f"{where} has no function name; expected {{'type': 'function', 'function': {{'name': ...}}}}")
    return tool if "function" in tool else {"type": "function", "function": tool}


def _leading_system(row: dict[str, Any]) -> list[Message]:
    system = row.get("system")
    if system is None or system == "":
        return []
    return [{"role": "system", "content": _text(system, "system")}]


def _text(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, f"{where}[{number}]") for number, part in enumerate(value))
    raise RowError(f"{where} is {'missing' if value is None else _kind(value) + ', not text'}; expected a text")


def _part(part: object, where: str) -> str:
    if not isinstance(part, dict):
        raise RowError(f"{where} is {_kind(part)}; expected {{'type': 'text', 'text': ...}}")
    kind = part.get("type", "text")
    text = part.get("text")
    if kind != "text" or not isinstance(text, str):
        raise RowError(f"{where} is not text (its type is {_shown(kind)}); expected {{'type': 'text', 'text': ...}}")
    return text


def _full_text(value: object, where: str) -> str:
    text = _text(value, where)
    if not text.strip():
        raise RowError(f"{where!r} is empty; expected the text to learn")
    return text


def _unmask(row: dict[str, Any], options: DatasetOptions) -> bool:
    said = row.get("unmask")
    if said is not None and not isinstance(said, bool):
        raise RowError(f"'unmask' is {_shown(said)}; expected true or false")
    return options.unmask or bool(said)


def _turns_field(row: Mapping[str, Any], options: DatasetOptions) -> str | None:
    names = (options.field_messages,) if options.field_messages else ("messages", "conversations", "conversation")
    return next((name for name in names if row.get(name) is not None), None)


def _missing(options: DatasetOptions, name: str, usual: str) -> str:
    named = getattr(options, name)
    return f"{named!r} is missing, which {name} names" if named else f"{usual!r} is missing"


def _is_sharegpt(turns: object) -> bool:
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and "from" in first and "role" not in first


def _document_field(row: Mapping[str, Any], options: DatasetOptions) -> str | None:
    names = (options.document_column_name,) if options.document_column_name else ("text", "document")
    return next((name for name in names if row.get(name) is not None), None)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, name in ((str, "a text"), (int, "a number"), (float, "a number"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return f"of type {type(value).__name__}"


def _shown(value: object) -> str:
    if isinstance(value, (list, dict)):
        return _kind(value)
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _near(name: object, known: tuple[str, ...]) -> str:
    # Comparing is quadratic in the length, and a long text is no mistyped name.
    return nearest(name, known) if isinstance(name, str) and len(name) <= 40 else ""
