"""Small language-model teachers with weights large enough that their distributions are far from uniform."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ganline.language.llama import Llama
from ganline.language.sections import DrawingConfig, LlamaSize
from ganline.language.teacher import Teacher
from ganline.language.tokenizers import Tokenizer

NUM_CLASSES, VOCAB, SIDE = 3, 40, 4
NUM_TOKENS = SIDE**2
PROMPT_DIM = 6
GAIN = 12.0


class ToyTokenizer(Tokenizer):
    """Tokens -> patches of 2 x 2 pixels: by their means, or by a convolution of embedded tokens."""

    num_tokens, vocab = NUM_TOKENS, VOCAB

    def __init__(self, *, learned: bool = False):
        super().__init__()
        self.codes = nn.Parameter(torch.linspace(-1, 1, VOCAB)[:, None] * torch.rand(4))
        self.conv = nn.Conv2d(4, 4, 3, padding=1) if learned else None

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        grid = self.codes[tokens].transpose(1, 2).unflatten(2, (SIDE, SIDE))
        return nn.functional.pixel_shuffle(grid if self.conv is None else torch.tanh(self.conv(grid)), 2)


def teacher(*, layers: int = 2, learned: bool = False, prompts: bool = False, **drawing: Any) -> Teacher:
    """A teacher with drawn weights, in evaluation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = LlamaSize(width=32, layers=layers, heads=2, hidden=48)
        dims = {"vocab": VOCAB, "num_tokens": NUM_TOKENS, "num_classes": NUM_CLASSES}
        llm = Llama(size, **dims, prompt_dim=PROMPT_DIM if prompts else 0)
        with torch.no_grad():
            for weight in llm.parameters():
                weight.mul_(GAIN) if weight.ndim == 2 else weight.uniform_(0.5, 1.5)
        return Teacher(llm.eval(), ToyTokenizer(learned=learned), DrawingConfig(**drawing)).requires_grad_(False)


def noise(n: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """z [n, T] and labels [n]."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, NUM_TOKENS, generator=draws), torch.randint(NUM_CLASSES, (n,), generator=draws)


def share_equal(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a == b).float().mean())
