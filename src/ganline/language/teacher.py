"""The language model and its tokenizer as one generator: noise and condition -> tokens -> image."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ganline.errors import BundleError
from ganline.language.drawing import draw, guided
from ganline.language.llama import Llama
from ganline.language.sections import DrawingConfig
from ganline.language.stepping import Stepper
from ganline.language.tokenizers import Tokenizer
from ganline.models.spec import Generator

Version = tuple[tuple[int, int], ...]


MICRO_BATCH = 32
"""Each of a sequence's many small steps costs about the same for 1 row as for 8: a batch of 8 would take 2.7 times as
long an image as one of 64, this one takes 1.25 times as long."""


class Teacher(Generator):
    """z [B, num_tokens] standard normal and a condition -> image [B, C, H, W] in [-1, 1].

    The condition is labels int64 [B], prompts' embeddings float [B, prompt_dim], or None. Image i is a function of z[i]
    and condition[i]. Products in float32 beat bfloat16 here even on processors that have it: rows are few, and turning
    them costs more than the product (B = 1: 36 ms against 65, B = 64: equal).
    """

    def __init__(self, llm: Llama, tokenizer: Tokenizer, drawing: DrawingConfig | None = None):
        super().__init__()
        self.micro_batch = MICRO_BATCH
        found, expected = (tokenizer.num_tokens, tokenizer.vocab), (llm.num_tokens, llm.vocab)
        if found != expected:
            raise BundleError(
                f"the tokenizer makes {found[0]} tokens of {found[1]}",
                expected=f"{expected[0]} of {expected[1]}, which the language model was trained on",
                remedy="run `dvc repro llm`",
            )
        self.llm, self.tokenizer, self.drawing = llm, tokenizer, drawing or DrawingConfig()
        self.z_dim, self.num_classes, self.prompt_dim = llm.num_tokens, llm.num_classes, llm.prompt_dim
        self.laid_out: tuple[Version, Stepper] | None = None

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.tokenizer.decode(self.tokens(z, condition))

    @torch.inference_mode()
    def tokens(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """int64 [B, num_tokens]."""
        return torch.stack(list(self.steps(z, condition)), dim=1)

    def steps(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """The tokens int64 [B] of each position, when they are drawn."""
        stepper, drawing = self.stepper(), self.drawing
        x = self.starts(condition, batch=len(z))
        caches = stepper.caches(len(x))
        for t in range(self.z_dim):
            logits = stepper(x, t, caches)
            if drawing.guidance != 1.0:
                logits = guided(logits, drawing.guidance)
            tokens = draw(logits, z[:, t], top_k=drawing.top_k)  # the temperature is in the logits
            yield tokens
            x = stepper.embed(tokens)
            if drawing.guidance != 1.0:
                x = torch.cat([x, x])

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [B, num_tokens] -> image [B, C, H, W]."""
        return self.tokenizer.decode(tokens)

    def starts(self, condition: torch.Tensor | None, *, batch: int) -> torch.Tensor:
        """Vectors of position 0, [B, width]; with guidance those of "nothing" follow, [2B, width]."""
        told = self.llm.condition(condition, batch=batch)
        if self.drawing.guidance == 1.0:
            return told
        return torch.cat([told, self.llm.condition(None, batch=batch)])

    @torch.no_grad()
    def stepper(self) -> Stepper:
        """The weights as decoding wants them, laid out again only after they changed."""
        # Weights that were loaded in inference mode count no versions: nothing changes them in place.
        version: Version = tuple(
            (each.data_ptr(), 0 if each.is_inference() else each._version) for each in self.llm.parameters()
        )
        if self.laid_out is None or self.laid_out[0] != version:
            # Outside inference mode, so that torch.compile may take its tensors.
            with torch.inference_mode(False):
                self.laid_out = version, Stepper(self.llm, temperature=self.drawing.temperature).eval()
        return self.laid_out[1]
