"""A decoder-only Llama over image tokens (Touvron et al. 2023, arXiv 2302.13971; LlamaGen, arXiv 2406.06525).

Position 0 holds the condition (a class, a prompt's embedding, or nothing), position i the i-th token; the network's
output at position i is the distribution of token i. Parameter names are those of transformers' LlamaForCausalLM (a test
loads them there and compares logits), so its tools read these weights. stepping.py decodes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from ganline.language.sections import LlamaSize
from ganline.models.layers import Dropout

ROPE_THETA = 10_000.0
NORM_EPS = 1e-5
INIT_STD = 0.02


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467), in float32."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPS)
        return (wide * self.weight).to(x.dtype)


class Attention(nn.Module):
    """Multi-head causal self-attention with rotary positions (Su et al. 2021, arXiv 2104.09864)."""

    def __init__(self, size: LlamaSize):
        super().__init__()
        self.heads = size.heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(size.width, size.width, bias=False) for _ in range(4)
        )

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] -> [B, heads, T, width / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return self.o_proj(attend(q, k, v).transpose(1, 2).flatten(2))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of q, k, v [B, heads, T, length].

    In half precision as plain products: over so few positions torch's fused kernel for CPUs takes four times as long
    with its backward pass (27 ms against 6 at B = 64, T = 49), in float32 an eighth of the time.
    """
    if q.dtype not in (torch.bfloat16, torch.float16):
        return scaled_dot_product_attention(q, k, v, is_causal=True)
    hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    return scores.masked_fill(hidden, -torch.inf).softmax(-1).to(v.dtype) @ v


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, size: LlamaSize):
        super().__init__()
        self.gate_proj = nn.Linear(size.width, size.ffn, bias=False)
        self.up_proj = nn.Linear(size.width, size.ffn, bias=False)
        self.down_proj = nn.Linear(size.ffn, size.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, size: LlamaSize):
        super().__init__()
        self.input_layernorm, self.self_attn = RMSNorm(size.width), Attention(size)
        self.post_attention_layernorm, self.mlp = RMSNorm(size.width), FeedForward(size)


class Trunk(nn.Module):
    """What transformers calls `model`: embedding, blocks, last norm."""

    def __init__(self, size: LlamaSize, num_embeddings: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(num_embeddings, size.width)
        self.layers = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = RMSNorm(size.width)

    @property
    def blocks(self) -> list[Block]:
        return cast(list[Block], list(self.layers))


class Llama(nn.Module):
    """Condition and tokens -> logits. The embedding holds `vocab` image tokens, `num_classes` classes, and "nothing".

    `prompt_dim` is the length of prompts' embeddings, 0 where there are none. `dropout` acts on each branch's output
    while the trainer lends draws.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(
        self,
        size: LlamaSize,
        *,
        vocab: int,
        num_tokens: int,
        num_classes: int,
        prompt_dim: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.size, self.vocab, self.num_tokens, self.num_classes = size, vocab, num_tokens, num_classes
        self.prompt_dim = prompt_dim
        self.model = Trunk(size, vocab + num_classes + 1)
        self.lm_head = nn.Linear(size.width, vocab + num_classes + 1, bias=False)
        self.prompt_proj = nn.Linear(prompt_dim, size.width, bias=False) if prompt_dim else None
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INIT_STD)
        for name, parameter in self.named_parameters():  # residual branches start small (GPT-2, section 2.3)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(parameter, std=INIT_STD / (2 * size.layers) ** 0.5)
        cos, sin = rotations(num_tokens, size.width // size.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def nothing(self) -> int:
        """The token of no condition, which classifier-free guidance needs (Ho & Salimans 2022, arXiv 2207.12598)."""
        return self.vocab + self.num_classes

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [...] -> [..., width]. Classes are the tokens vocab + label."""
        return self.model.embed_tokens(tokens)

    def condition(self, condition: torch.Tensor | None, *, batch: int) -> torch.Tensor:
        """Labels int64 [B], prompts' embeddings float [B, prompt_dim] or None -> vectors of position 0, [B, width]."""
        if condition is None:
            return self.embed(torch.full((batch,), self.nothing, device=self.lm_head.weight.device))
        if not condition.is_floating_point():
            return self.embed(condition + self.vocab)
        assert self.prompt_proj is not None, "this model was not trained on prompts"
        return self.prompt_proj(condition)

    def forward(self, start: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors of position 0 [B, width] and the first tokens int64 [B, t] -> logits [B, t + 1, vocab]."""
        x = torch.cat([start[:, None], self.embed(tokens)], dim=1)
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for block in self.model.blocks:
            x = x + self.dropout(block.self_attn(block.input_layernorm(x), cos, sin))
            x = x + self.dropout(block.mlp(block.post_attention_layernorm(x)))
        return self.logits(x)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(self.model.norm(x), self.lm_head.weight[: self.vocab])


def rotations(length: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [length, dim] of the rotary angles, each half the same."""
    frequencies = ROPE_THETA ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([angles, angles], dim=1).cos(), torch.cat([angles, angles], dim=1).sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn pairs (i, i + dim / 2) of the last axis by their position's angles."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], dim=-1) * sin.to(x.dtype)
