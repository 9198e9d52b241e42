"""What safetensors files hold, by their headers: names, shapes and precisions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Says, of weights in several files, which tensor is in which."""
_LONGEST_HEADER = 100_000_000
"""Bytes; the format allows no more."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    dtype: str
    """In the words of the format: `F32`, `BF16`."""
    shape: tuple[int, ...]
    file: Path


def weight_files(directory: Path) -> list[Path]:
    """The files that transformers would load a model's weights from: first of all the one that needs no index."""
    if (directory / WHOLE).exists():
        return [directory / WHOLE]
    if (directory / INDEX).exists():
        try:
            names = set(json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, LookupError, TypeError, AttributeError):
            return []
        return [directory / name for name in sorted(names)]
    return []


def raw_header(file: Path) -> bytes | None:
    """The header of a safetensors file, as JSON; None where it is no such file, or was cut off within its header."""
    present = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return None if length > min(present - 8, _LONGEST_HEADER) else stream.read(length)


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """The tensors of a model, by name. A file that is none of the format is passed over."""
    return {name: tensor for file in weight_files(directory) for name, tensor in _in(file).items()}


def _in(file: Path) -> dict[str, StoredTensor]:
    try:
        header = json.loads(raw_header(file) or b"{}")
        return {
            name: StoredTensor(tensor["dtype"], tuple(tensor["shape"]), file)
            for name, tensor in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
