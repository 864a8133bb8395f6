"""Training the language model: next-token cross-entropy with conditions left out at times, resumable to the bit.

Every draw (batch, condition, dropout) is re-derived from (seed, step), as in the GANs' loop; a checkpoint is the same
folder. Under torchrun the ranks share each batch.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ganline import ranks
from ganline.data.loader import Batches, Split
from ganline.devices import Compute, device_memory_mb
from ganline.draws import Draws
from ganline.language.config import LlmConfig
from ganline.language.llama import Llama
from ganline.models.layers import drawing
from ganline.schedules import ema_decay, value_at
from ganline.seeds import generator
from ganline.training.ema import update_ema
from ganline.training.loop import SAVE_SHARE, Run, clock
from ganline.training.state import Resumable, resume, save_checkpoint, share_state
from ganline.training.step import masked_update
from ganline.training.tracker import Tracker

log = logging.getLogger(__name__)

EVALUATED_AT_ONCE = 256
DrawPrompts = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Rows of the training split int64 [n] and a generator -> embeddings float32 [n, E] of captions true of them."""


@dataclass
class LanguageState(Resumable):
    """A language model while it learns, and the moving average of its weights."""

    llm: Llama
    llm_ema: Llama

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"llm": self.llm, "llm_ema": self.llm_ema}


@dataclass(frozen=True)
class Texts:
    """What the model learns: tokens of the training and the validation split, int [N, T], and their labels."""

    train: Split
    tokens: np.ndarray
    val_tokens: np.ndarray
    val_labels: np.ndarray
    prompts: DrawPrompts | None = None


def make_language_state(config: LlmConfig, shape: dict[str, int], compute: Compute) -> LanguageState:
    """A fresh model: its initial weights are a function of `config.seed`. `shape` are Llama's keyword arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        llm = Llama(config.size, **shape, dropout=config.dropout)
    llm_ema = compute.place(copy.deepcopy(llm)).eval().requires_grad_(False)
    llm = compute.place(llm)
    wide = [p for p in llm.parameters() if p.ndim > 1]
    gains = [p for p in llm.parameters() if p.ndim == 1]
    groups = [{"params": wide, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=value_at(config.lr, 0, 1), betas=config.betas, fused=True)
    return LanguageState(llm, llm_ema, optimizers={"llm": adam})


def learn(config: LlmConfig, texts: Texts, shape: dict[str, int], *, run: Run, compute: Compute) -> LanguageState:
    """Train to the end of the budget, from the newest checkpoint in `run.work` if there is one.

    Stopped anywhere and called again, it ends in the same bits as if never stopped, on the same machine.
    """
    state = make_language_state(config, shape, compute)
    tracker = Tracker(run.work) if ranks.is_first() else None
    if tracker and resume(run.checkpoints, state, recipe=run.recipe, machine=run.machine) is None:
        log.info("llm: %.0f kimg, %d parameters", config.total_kimg, sum(p.numel() for p in state.llm.parameters()))
    share_state(state)
    if config.compile and compute.can_compile():
        state.llm.compile()
    if tracker:
        tracker.rewind(state.step or -1)
    batches = Batches(texts.train, batch=config.batch, seed=config.seed, mirror=False, device=torch.device("cpu"))
    tokens = torch.from_numpy(texts.tokens.astype(np.int64))
    total = math.ceil(config.total_nimg / config.batch)
    every = max(1, round(config.tick_kimg * 1000 / config.batch))
    saved_at, save_seconds, told_at = time.monotonic(), 0.0, time.monotonic()
    while state.step < total:
        began, losses = time.monotonic(), []
        for _ in range(min(every - state.step % every, total - state.step)):
            losses.append(learn_step(state, config, batches, tokens, texts.prompts, compute))
        last = state.step == total
        mean, masked = (float(x) for x in ranks.average(torch.stack(losses).double().mean(0)))
        state.skipped += round(masked * len(losses))
        if tracker is None:
            continue
        rate = len(losses) * config.batch / (time.monotonic() - began)
        line = {"step": state.step, "nimg": state.nimg, "nats_per_token": mean}
        if last or passes(state.nimg, len(losses) * config.batch, config.val_every_share * config.total_nimg):
            line["val_nats_per_token"] = nats_per_token(state.llm_ema, texts.val_tokens, texts.val_labels, compute)
        tracker.history({name: value for name, value in line.items() if math.isfinite(value)})
        memory = device_memory_mb(compute)
        tracker.system(step=state.step, nimg=state.nimg, images_per_second=rate, device_memory_mb=memory)
        wait = max(config.checkpoint_seconds, save_seconds / SAVE_SHARE if config.checkpoint_seconds else 0.0)
        if last or time.monotonic() - saved_at >= wait:
            started = time.monotonic()
            save_checkpoint(run.checkpoints, state, recipe=run.recipe, machine=run.machine)
            saved_at = time.monotonic()
            save_seconds = saved_at - started
        if last or time.monotonic() - told_at >= 5.0:
            told_at = time.monotonic()
            left = clock((config.total_nimg - state.nimg) / rate)
            told = "  ".join(f"{k} {v:.3f}" for k, v in line.items() if k.endswith("token"))
            log.info("%4.0f%%  %.0f img/s  %s left  %s", 100 * state.nimg / config.total_nimg, rate, left, told)
    return state


def passes(nimg: int, advanced: int, every: float) -> bool:
    """Whether the last `advanced` images passed a multiple of `every`."""
    return math.floor(nimg / every) > math.floor((nimg - advanced) / every)


def learn_step(
    state: LanguageState,
    config: LlmConfig,
    batches: Batches,
    tokens: torch.Tensor,
    prompts: DrawPrompts | None,
    compute: Compute,
) -> torch.Tensor:
    """One update: [mean nats per token, 1.0 if it was masked], on the device."""
    llm, optimizer, step = state.llm, state.optimizers["llm"], state.step
    warm = min(1.0, (state.nimg + config.batch) / max(config.warmup_share * config.total_nimg, 1.0))
    for group in optimizer.param_groups:
        group["lr"] = value_at(config.lr, state.nimg, config.total_nimg) * warm
    share = ranks.rows(config.batch)
    rows = batches.indices(step)
    wanted = tokens[rows[share]].to(compute.device, non_blocking=True)
    draws = Draws(config.seed, "llm", step, batch=config.batch, device=compute.device)
    with compute.precision(), drawing(llm, draws):
        start = starts(llm, rows, batches, step=step, config=config, prompts=prompts)[share]
        logits = llm(start, wanted[:, :-1])
        loss = cross_entropy(logits.float().flatten(0, 1), wanted.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    ranks.average_gradients(llm)
    _, bad = masked_update(llm, optimizer)
    state.step += 1
    state.nimg += config.batch
    halflife = config.ema_halflife_share * config.total_nimg
    decay = ema_decay(state.nimg, batch=config.batch, halflife_nimg=halflife, rampup=0.1)
    update_ema(state.llm_ema, llm, decay)
    return torch.stack([loss.detach(), bad])


def starts(
    llm: Llama, rows: torch.Tensor, batches: Batches, *, step: int, config: LlmConfig, prompts: DrawPrompts | None
) -> torch.Tensor:
    """Vectors of position 0 of the whole batch [batch, width]: class, prompt or nothing, by a draw for each image."""
    device = llm.lm_head.weight.device
    draws = generator(config.seed, "condition", step)
    share = torch.rand(len(rows), generator=draws)
    classes = batches.label_of(rows) + llm.vocab
    told = torch.where(share < config.unconditional_share, llm.nothing, classes) if llm.num_classes else None
    if told is None:
        told = torch.full_like(rows, llm.nothing)
    start = llm.embed(told.to(device))
    if prompts is None or llm.prompt_proj is None:
        return start
    told_by_prompt = share >= 1.0 - config.prompt_share
    embedded = llm.prompt_proj(prompts(rows, draws).to(device))
    return torch.where(told_by_prompt.to(device)[:, None], embedded.to(start.dtype), start)


@torch.inference_mode()
def nats_per_token(llm: Llama, tokens: np.ndarray, labels: np.ndarray | None, compute: Compute) -> float:
    """Mean -log p(token | those before, class) of int tokens [N, T]; without a class where labels are None."""
    total = 0.0
    for start in range(0, len(tokens), EVALUATED_AT_ONCE):
        part = torch.from_numpy(tokens[start : start + EVALUATED_AT_ONCE].astype(np.int64)).to(compute.device)
        told = None
        if labels is not None and llm.num_classes:
            told = torch.from_numpy(labels[start : start + EVALUATED_AT_ONCE]).to(compute.device)
        with compute.precision():
            logits = llm(llm.condition(told, batch=len(part)), part[:, :-1])
        total += float(cross_entropy(logits.float().flatten(0, 1), part.flatten(), reduction="sum").double())
    return total / tokens.size


def unigram_nats(train: np.ndarray, test: np.ndarray, vocab: int) -> float:
    """Nats per token of test tokens [N, T] under each position's histogram of train tokens (plus one each): trivial."""
    total = 0.0
    for position in range(train.shape[1]):
        counts = np.bincount(train[:, position].astype(np.int64), minlength=vocab) + 1.0
        total -= np.log(counts / counts.sum())[test[:, position].astype(np.int64)].sum()
    return float(total / test.size)
