"""The teacher through torch.compile: one step, drawing included, with shapes that never change."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from ganline.acceleration.runtime import compiled_apart
from ganline.devices import Compute
from ganline.language.drawing import draw, guided
from ganline.language.stepping import Caches, Stepper
from ganline.language.teacher import Teacher
from ganline.models.spec import Generator


class StaticStepper(Stepper):
    """A step whose position is a tensor int64 [1]: one compilation serves all. It attends to every place of the cache
    and masks those that are not there yet."""

    places: torch.Tensor

    def __init__(self, teacher: Teacher):
        super().__init__(teacher.llm, temperature=teacher.drawing.temperature)
        self.drawing = teacher.drawing
        self.register_buffer("places", torch.arange(self.num_tokens, device=self.head.device))

    def caches(self, batch: int) -> Caches:
        """Zeros: what is masked is still multiplied."""
        return [torch.zeros_like(each) for each in super().caches(batch)]

    def turn(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return self.cos[t], self.sin[t]

    def attend(  # type: ignore[override]
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, t: torch.Tensor, cache: torch.Tensor
    ) -> torch.Tensor:
        cache.index_copy_(3, t, torch.stack([k, v])[:, :, :, None])
        seen = self.places <= t
        return scaled_dot_product_attention(
            q[:, :, None], cache[0], cache[1], attn_mask=seen[None, None, None]
        ).flatten(1)

    def drawn(
        self, x: torch.Tensor, t: torch.Tensor, z: torch.Tensor, caches: Caches
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x [rows, width] and noise z [B] at position t -> x of the next position, tokens int64 [B]."""
        logits = self(x, t, caches)
        if self.drawing.guidance != 1.0:
            logits = guided(logits, self.drawing.guidance)
        tokens = draw(logits, z, top_k=self.drawing.top_k)
        x = self.embed(tokens)
        return (torch.cat([x, x]) if self.drawing.guidance != 1.0 else x), tokens


class CompiledTeacher(Generator):
    """Its step is compiled for each batch size at the first call."""

    def __init__(self, teacher: Teacher):
        super().__init__()
        self.z_dim, self.num_classes, self.prompt_dim = teacher.z_dim, teacher.num_classes, teacher.prompt_dim
        self.teacher, self.micro_batch = teacher, teacher.micro_batch
        self.steps = StaticStepper(teacher).eval()
        self.positions = [torch.tensor([t], device=self.steps.head.device) for t in range(teacher.z_dim)]
        self.caches: dict[int, Caches] = {}

        def step(
            x: torch.Tensor, t: torch.Tensor, z: torch.Tensor, caches: Caches
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return self.steps.drawn(x, t, z, caches)

        # Batch 1: 27 ms with the wrapper in C++, 31 to 40 with Python's; freezing and max-autotune gained nothing.
        self.step = compiled_apart(step, options={"cpp_wrapper": True})

    @torch.no_grad()
    def tokens(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """int64 [B, num_tokens], as Teacher.tokens."""
        x, noise, drawn = self.teacher.starts(condition, batch=len(z)), z.T.contiguous(), []
        if len(z) not in self.caches:
            self.caches[len(z)] = self.steps.caches(len(x))
        for t, position in enumerate(self.positions):
            x, tokens = self.step(x, position, noise[t], self.caches[len(z)])
            drawn.append(tokens)
        return torch.stack(drawn, dim=1)

    @torch.no_grad()
    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.teacher.tokenizer.decode(self.tokens(z, condition))


def compiled_teacher(teacher: Teacher, *, compute: Compute) -> CompiledTeacher:
    """The teacher through torch.compile. Raises GanlineError where that finds no compiler."""
    compute.need_compiler()
    return CompiledTeacher(teacher)
