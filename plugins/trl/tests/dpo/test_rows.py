"""Pairs are taken in every form that people write, become the tokens that TRL makes, and are named where they are bad."""

import json
import random
from pathlib import Path

import accelerate
import pytest
import trl
from datasets import Dataset
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

from training_hub import SFTAlgorithm
from training_hub.data import check_dataset, prepare
from training_hub.data.options import DatasetOptions
from training_hub.errors import DatasetError, ModelError
from training_hub.plugins import discovery
from training_hub.testing.toy import TEMPLATE

TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def tokenizer(model):
    return AutoTokenizer.from_pretrained(model)


@pytest.fixture(scope="module")
def of_trl(tmp_path_factory):
    """The tokens that TRL itself makes of rows."""
    accelerate.PartialState(cpu=True)
    out = str(tmp_path_factory.mktemp("trl"))
    config = DPOConfig(output_dir=out, use_cpu=True, bf16=False, max_length=None, report_to=[])

    class Trainer:
        """As much of a trainer as the making of tokens needs."""

    def tokens(rows, tokenizer):
        Trainer._tokenizer = tokenizer
        found = DPOTrainer._prepare_dataset(Trainer, Dataset.from_list(rows), tokenizer, config, "train")
        return [tuple(row[name] for name in TOKENS) for row in found]

    return tokens


@pytest.fixture
def of_hub(written):
    def tokens(rows, tokenizer, **more):
        formats = discovery.formats_of("dpo", ("preference",))
        found = prepare(written(rows), DatasetOptions(), tokenizer, formats=formats, **more)
        return [tuple(row) for row in found.train]

    return tokens


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def with_text(row):
    prompt, chosen, rejected = (row[name][0]["content"] for name in ("prompt", "chosen", "rejected"))
    return {"prompt": f"{prompt} ", "chosen": chosen, "rejected": rejected}


def inside(row):
    return {name: row["prompt"] + row[name] for name in ("chosen", "rejected")}


def text_inside(row):
    texts = with_text(row)
    return {name: f"{texts['prompt']}|{texts[name]}{end}" for name, end in (("chosen", "."), ("rejected", "!"))}


def longer(row):
    more = [user("Again."), assistant("Again?")]
    return row | {"chosen": row["chosen"] + more, "rejected": row["rejected"] + more}


@pytest.mark.parametrize("form", [dict, with_text, inside, text_inside, longer])
def test_tokens_are_trls_own(form, made, tokenizer, of_hub, of_trl):
    rows = [form(row) for row in made(300)]
    assert of_hub(rows, tokenizer) == of_trl(rows, tokenizer)


ODD = [
    {"prompt": "Q ", "chosen": "yes<|end|>", "rejected": "no"},
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "The sky is blue", "rejected": "The sky is  blue"},
    {
        "prompt": [user("a"), assistant("b")],
        "chosen": [user("x"), assistant("y")],
        "rejected": [user("x"), assistant("z")],
    },
    {"chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("b"), user("c"), assistant("d")]},
]


@pytest.mark.parametrize("row", ODD)
def test_odd_rows_are_parted_as_trl_parts_them(row, tokenizer, of_hub, of_trl):
    assert of_hub([row], tokenizer) == of_trl([row], tokenizer)


def test_tools_and_arguments_of_the_template_are_heeded(model, of_hub, of_trl):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = "{%- if tools %}TOOL {{ tools[0].function.name }}{% endif -%}{{ mood or '' }}" + TEMPLATE
    rows = [
        {"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("c")]},
        {"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("c")], "tools": TOOLS},
        {"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("c")], "tools": json.dumps(TOOLS)},
        {"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("c")]}
        | {"chat_template_kwargs": {"mood": "glad"}},
    ]
    found = of_hub(rows, tokenizer)
    assert found == [of_trl([row], tokenizer)[0] for row in rows]
    prompts = [tokenizer.decode(prompt) for prompt, *_ in found]
    assert "TOOL" not in prompts[0] and "glad" not in prompts[0]
    assert prompts[1] == prompts[2] and prompts[1].startswith("TOOL f") and prompts[3].startswith("glad")


def test_tokens_are_trls_own_by_real_templates(model, of_hub, of_trl):
    rows = [
        {"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("c c")]},
        {"prompt": [user("q"), assistant("r"), user("t")], "chosen": [assistant("b")], "rejected": [assistant(" c ")]},
        {"prompt": [user("q")], "chosen": [assistant("<think>hm</think>b")], "rejected": [assistant("c")]},
    ]
    same = 0
    for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja")):
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.chat_template = path.read_text()
        try:
            expected = of_trl(rows, tokenizer)
        except Exception:
            continue  # a template of another kind of model
        if any(chosen == rejected for _, chosen, rejected in expected):
            # One of a model that sees writes no content that is a text: TRL then learns from nothing.
            with pytest.raises(DatasetError, match="'chosen' and 'rejected' are the same"):
                of_hub(rows, tokenizer)
            continue
        assert of_hub(rows, tokenizer) == expected, path.name
        same += 1
    assert same > 20


def test_the_end_of_a_prompt_that_no_answer_follows_is_left_out_with_a_warning(model, written, of_trl):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TEMPLATE.replace("<|assistant|>\n", "<|assistant|>\n<think></think>")
    rows = [{"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("c")]}] * 2
    formats = discovery.formats_of("dpo", ("preference",))
    found = prepare(written(rows), DatasetOptions(), tokenizer, formats=formats).train
    assert [tuple(row) for row in found] == of_trl(rows, tokenizer)
    assert len(found.report.warnings) == 1 and "trained without it" in found.report.warnings[0]


PROMPT, CHOSEN, REJECTED = [user("Hi\n\nThere")], [assistant("yes")], [assistant("no")]
SAME = {
    "TRL's": {"prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED},
    "prompt as text": {"prompt": "Hi\n\nThere", "chosen": CHOSEN, "rejected": REJECTED},
    "answers as texts": {"prompt": PROMPT, "chosen": "yes", "rejected": "no"},
    "answers as one message": {"messages": PROMPT, "chosen": CHOSEN[0], "rejected": REJECTED[0]},
    "prompt inside": {"chosen": PROMPT + CHOSEN, "rejected": PROMPT + REJECTED},
    "prompt twice": {"prompt": PROMPT, "chosen": PROMPT + CHOSEN, "rejected": PROMPT + REJECTED},
    "prompt twice, once as text": {"prompt": "Hi\n\nThere", "chosen": PROMPT + CHOSEN, "rejected": PROMPT + REJECTED}
    | {"messages": PROMPT + CHOSEN, "score_chosen": 8.0},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Hi\n\nThere"}],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    },
    "ShareGPT, answers as lists": {
        "conversations": [{"from": "human", "value": "Hi\n\nThere"}],
        "chosen": [{"from": "gpt", "value": "yes"}],
        "rejected": [{"from": "gpt", "value": "no"}],
    },
    "ShareGPT, answers as texts": {
        "conversations": [{"from": "human", "value": "Hi\n\nThere"}],
        "chosen": "yes",
        "rejected": "no",
    },
    "Alpaca": {"instruction": "Hi", "input": "There", "chosen": "yes", "rejected": "no"},
    "Alpaca without input": {"instruction": "Hi\n\nThere", "input": "", "chosen": "yes", "rejected": "no"},
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_of_a_conversation_is_taken(form, tokenizer, of_hub, of_trl):
    assert of_hub([SAME[form]], tokenizer) == of_trl([SAME["TRL's"]], tokenizer)


def test_forms_may_be_mixed_in_a_file(tokenizer, of_hub, of_trl):
    texts = {"prompt": "Q ", "chosen": "yes", "rejected": "no"}
    expected = [of_trl([row], tokenizer)[0] for row in (texts, SAME["TRL's"])]
    rows = [texts, SAME["ShareGPT"], texts, SAME["Alpaca"]]
    assert of_hub(rows, tokenizer) == expected * 2


def test_a_system_prompt_and_a_history_belong_to_the_prompt(tokenizer, of_hub):
    row = SAME["Alpaca"] | {"system": "Be short.", "history": [["One?", "Two."]]}
    [(prompt, *_)] = of_hub([row], tokenizer)
    assert tokenizer.decode(prompt).startswith(
        "<|system|>\nBe short.<|end|>\n<|user|>\nOne?<|end|>\n<|assistant|>\nTwo.<|end|>\n<|user|>\nHi\n\nThere<|end|>"
    )


BAD = [
    ({"prompt": "q", "chosen": "a"}, "'rejected' is missing"),
    ({"prompt": "q", "chosen": "a", "rejected": None}, "'rejected' is missing"),
    ({"prompt": "q", "chosen": "a", "rejected": " "}, "'rejected' is empty"),
    ({"prompt": "", "chosen": "a", "rejected": "b"}, "'prompt' is empty"),
    ({"prompt": "q", "chosen": "a", "rejected": "a"}, "'chosen' and 'rejected' are the same"),
    ({"chosen": "yes ", "rejected": "no "}, "do not begin alike"),
    ({"chosen": "The sky is blue", "rejected": "The sky is blue and wide"}, "the beginning of the other"),
    ({"question": "q?", "chosen": "Yes, a", "rejected": "Yes, b"}, "a text under 'question'"),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": TOOLS}, "'tools' is for the chat template"),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "system": "s"}, "'system' is for the chat template"),
    ({"prompt": PROMPT, "chosen": CHOSEN, "rejected": 3}, "'rejected' is a number"),
    ({"prompt": PROMPT, "chosen": [user("b")], "rejected": REJECTED}, "'chosen' begins with a message of role 'user'"),
    ({"prompt": PROMPT, "chosen": [*CHOSEN, user("b")], "rejected": REJECTED}, "'chosen' ends with a message of role"),
    (
        {"prompt": [*PROMPT, *CHOSEN], "chosen": CHOSEN, "rejected": REJECTED},
        "the prompt ends with an assistant's turn",
    ),
    ({"prompt": [], "chosen": CHOSEN, "rejected": REJECTED}, "'prompt' is empty"),
    ({"chosen": [user("a"), *CHOSEN], "rejected": [user("c"), *REJECTED]}, "do not begin with the same message"),
    ({"prompt": [{"role": "robot", "content": "q"}], "chosen": CHOSEN, "rejected": REJECTED}, "prompt[0].role"),
    (SAME["TRL's"] | {"chat_template_kwargs": "no"}, "'chat_template_kwargs' is not JSON"),
    (SAME["TRL's"] | {"chat_template_kwargs": [1]}, "'chat_template_kwargs' is a list; expected an object"),
    (SAME["Alpaca"] | {"history": ["a"]}, "'history' is no list of [question, answer]"),
    (SAME["Alpaca"] | {"instruction": " ", "input": None}, "'instruction' is empty"),
    (SAME["TRL's"] | {"images": ["a.png"]}, "'images' is there"),
    (
        {"messages": PROMPT + CHOSEN},
        "a messages row ('messages'), which sft, osft and lora_sft learn from; call one of them",
    ),
    (7, "the row is a number"),
]


def test_bad_rows_are_named_by_file_and_line(written):
    path = written([row for row, _ in BAD[:20]])
    with pytest.raises(DatasetError) as raised:
        check_dataset(path, formats=discovery.formats_of("dpo", ("preference",)))
    lines = [line.strip().removeprefix(f"{path}:").partition(": ") for line in str(raised.value).splitlines()[1:]]
    for number, (_, said) in enumerate(BAD[:20], 1):
        assert [said in problem for places, _, problem in lines if str(number) in places.split(", ")] == [True]
    for row, said in BAD[20:]:
        path = written([row])
        with pytest.raises(DatasetError) as raised:
            check_dataset(path, formats=discovery.formats_of("dpo", ("preference",)))
        assert f"{path}:1: " in str(raised.value) and said in str(raised.value)


def test_a_row_that_the_template_cannot_write_is_named(model, of_hub):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = "{{ raise_exception('no system prompts') }}"
    with pytest.raises(DatasetError, match=r"rows_0.jsonl:1: the chat template cannot write it: .*no system prompts"):
        of_hub([SAME["TRL's"]], tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        of_hub([SAME["TRL's"]], tokenizer)


def test_long_pairs_are_left_out_by_their_longer_sequence_and_never_cut(made, tokenizer, of_hub):
    rows = made(40)
    every = of_hub(rows, tokenizer)
    lengths = [len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in every]
    limit = sorted(lengths)[25]
    kept = [row for row, length in zip(every, lengths, strict=True) if length <= limit]
    assert of_hub(rows, tokenizer, max_seq_len=limit) == kept and 0 < len(kept) < 40


def test_sft_given_pairs_says_which_algorithm_learns_from_them(written):
    path = written([SAME["Alpaca"]])
    with pytest.raises(
        DatasetError, match="it is a preference row .'prompt', 'chosen' and 'rejected'., which dpo learns from"
    ):
        check_dataset(path, formats=discovery.formats_of("sft", SFTAlgorithm.row_formats))


def test_random_rows_become_trls_tokens(tokenizer, of_hub, of_trl):
    rng = random.Random(3)

    def text():
        return "".join(rng.choices("ab c\n", k=rng.randint(1, 5))) + "x"

    rows = []
    while len(rows) < 300:
        prompt, chosen, rejected = text(), text(), text()
        if chosen != rejected:
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert of_hub(rows, tokenizer) == of_trl(rows, tokenizer)
