"""One position at a time: what decoding runs, with weights laid out for it.

Against `Llama.forward` on a growing prefix it keeps keys and values, multiplies once where inputs are shared (q, k, v;
gate and up), has the norms' weights and the temperature folded into the products that follow them, and holds matrices
as [inputs, outputs], which is a quarter faster for a single row. The logits are `forward`'s, up to rounding.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention, silu

from ganline.language.llama import NORM_EPS, Llama

Caches = list[torch.Tensor]


class FusedBlock(nn.Module):
    """One block's matrices, each [inputs, outputs]."""

    qkv: torch.Tensor
    out: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor

    def __init__(self, *, qkv: torch.Tensor, out: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor):
        super().__init__()
        for name, matrix in {"qkv": qkv, "out": out, "gate_up": gate_up, "down": down}.items():
            self.register_buffer(name, matrix.detach().T.contiguous())


class Stepper(nn.Module):
    """x [B, width] at position t -> logits [B, vocab] over temperature; keys and values go into `caches` in place."""

    embeddings: torch.Tensor
    head: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor

    @torch.no_grad()
    def __init__(self, llm: Llama, *, temperature: float = 1.0):
        super().__init__()
        size = llm.size
        self.width, self.heads, self.depth = size.width, size.heads, size.width // size.heads
        self.num_tokens, self.vocab = llm.num_tokens, llm.vocab
        self.layers = nn.ModuleList(
            FusedBlock(
                qkv=torch.cat(
                    [block.self_attn.q_proj.weight, block.self_attn.k_proj.weight, block.self_attn.v_proj.weight]
                )
                * block.input_layernorm.weight,
                out=block.self_attn.o_proj.weight,
                gate_up=torch.cat([block.mlp.gate_proj.weight, block.mlp.up_proj.weight])
                * block.post_attention_layernorm.weight,
                down=block.mlp.down_proj.weight,
            )
            for block in llm.model.blocks
        )
        dtype, half = llm.lm_head.weight.dtype, self.depth // 2
        head = llm.lm_head.weight[: llm.vocab] * llm.model.norm.weight / temperature
        self.register_buffer("head", head.T.contiguous())
        self.register_buffer("embeddings", llm.model.embed_tokens.weight[: llm.vocab].clone())
        self.register_buffer("cos", llm.cos.to(dtype))
        # A rotation is x * cos + roll(x, half) * sin, with the sign of the rolled half in the sine.
        self.register_buffer("sin", torch.cat([-llm.sin[:, :half], llm.sin[:, half:]], dim=1).to(dtype))

    def caches(self, batch: int) -> Caches:
        """Room for keys and values, [2, B, heads, T, width / heads] a block; never read before it is written."""
        shape = (2, batch, self.heads, self.num_tokens, self.depth)
        return [torch.empty(shape, device=self.head.device, dtype=self.head.dtype) for _ in self.layers]

    def forward(self, x: torch.Tensor, t: int, caches: Caches) -> torch.Tensor:
        cos, sin = self.turn(t)
        for block, cache in zip(cast(list[FusedBlock], list(self.layers)), caches, strict=True):
            y = (self.norm(x) @ block.qkv).unflatten(1, (3, self.heads, self.depth))
            q_k, v = y[:, :2], y[:, 2]
            q_k = torch.addcmul(q_k * cos, q_k.roll(self.depth // 2, -1), sin)
            y = self.attend(q_k[:, 0], q_k[:, 1], v, t=t, cache=cache)
            x = torch.addmm(x, y, block.out)
            gate, up = (self.norm(x) @ block.gate_up).chunk(2, dim=1)
            x = torch.addmm(x, silu(gate) * up, block.down)
        return self.norm(x) @ self.head

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens int64 [B] -> [B, width]."""
        return embedding(tokens, self.embeddings)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, (self.width,), eps=NORM_EPS)

    def turn(self, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin of position t, [width / heads]."""
        return self.cos[t], self.sin[t]

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, t: int, cache: torch.Tensor) -> torch.Tensor:
        """q, k, v [B, heads, depth] of position t -> what its heads read, [B, width]. Looks only at what is there."""
        keys, values = cache[0, :, :, : t + 1], cache[1, :, :, : t + 1]
        keys[:, :, t], values[:, :, t] = k, v
        return scaled_dot_product_attention(q[:, :, None], keys, values).flatten(1)
