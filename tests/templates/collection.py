"""Chat templates as installed packages have them: read from there, none is kept here."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# With DeepSeek's wider bars.
TOKENS = re.compile(r"<[|\uff5c][^<>{}\s'\"]{1,40}[|\uff5c]?>|<\|?/?[a-z_|]{1,30}\|?>|\[/?[A-Z_]{2,30}\]")
ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eot|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|END_OF_TURN_TOKEN|>", "[|endofturn|]",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<|endoftext|>", "</s>", "<|end_of_turn|>", "<|user|>",
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """A template, and where it was found."""

    name: str
    text: str
    marked: str | None = field(default=None)
    """The same with `{% generation %}`, where its package has that."""

    def tokenizer(self) -> Any:
        """A small tokenizer that has its tokens."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        inner.train_from_iterator(["user assistant system weather"], trainer)
        end = next((token for token in ENDS if token in self.text), "</s>")
        tokens = sorted({*TOKENS.findall(self.text), "<s>", end})
        inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
        made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token=end)
        made.chat_template = self.text
        return made


def templates() -> list[Template]:
    """All that are installed, each once, in order of their names."""
    found: dict[str, Template] = {}
    for template in (
        *_files("trl", "chat_templates"),
        *_files("axolotl", "utils/chat_templates/templates"),
        *_unsloth(),
    ):
        found.setdefault(hashlib.sha256(template.text.encode()).hexdigest(), template)
    return sorted(found.values(), key=lambda template: template.name)


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _files(package: str, folder: str) -> list[Template]:
    place = _package(package)
    files = sorted((place / folder).glob("*.jinja")) if place else []
    texts = {file.stem: file.read_text(encoding="utf-8") for file in files}
    return [Template(f"{package}/{name}", text, texts.get(f"{name}_training")) for name, text in texts.items()]


def _unsloth() -> list[Template]:
    """Those that its module assigns; importing it would change transformers."""
    place = _package("unsloth")
    if place is None:
        return []
    names: dict[str, Any] = {}
    kept = (ast.Assign, ast.AugAssign)
    for statement in ast.parse((place / "chat_templates.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, kept) and "emplate" in ast.unparse(
            statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        ):
            try:
                exec(compile(ast.Module([statement], []), "unsloth", "exec"), {"CHAT_TEMPLATES": {}}, names)
            except Exception:
                continue  # no template, and needs more of the module
    return [
        Template(f"unsloth/{name.removesuffix('_template')}", text)
        for name, text in names.items()
        if isinstance(text, str) and "messages" in text and "{%" in text
    ]
