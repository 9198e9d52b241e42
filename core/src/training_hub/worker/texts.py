"""Texts between the ranks of a process group, as bytes: nothing is pickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def broadcast_text(text: str, device: torch.device | None) -> str:
    """The text of rank 0, on every rank; all of them call this.

    Args:
        text: On rank 0; of the others it does not count.
        device: Where the process group's backend can send tensors from; None for the CPU.
    """
    import torch
    from torch import distributed

    first = distributed.get_rank() == 0
    data = text.encode() if first else b""
    length = torch.tensor([len(data)], device=device)
    distributed.broadcast(length, 0)
    if not int(length):
        return ""
    content = torch.tensor(list(data) if first else [0] * int(length), dtype=torch.uint8, device=device)
    distributed.broadcast(content, 0)
    return bytes(content.tolist()).decode()


def gather_texts(text: str, device: torch.device | None) -> list[str]:
    """The texts of all ranks, by rank; all of them call this.

    Args:
        text: This rank's.
        device: Where the process group's backend can send tensors from; None for the CPU.
    """
    import torch
    from torch import distributed

    data = text.encode()
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(lengths, torch.tensor([len(data)], device=device))
    longest = max(map(int, lengths))
    if not longest:
        return [""] * len(lengths)
    padded = torch.tensor(list(data.ljust(longest, b"\0")), dtype=torch.uint8, device=device)
    contents = [torch.zeros_like(padded) for _ in lengths]
    distributed.all_gather(contents, padded)
    return [bytes(content.tolist()[: int(length)]).decode() for content, length in zip(contents, lengths, strict=True)]
