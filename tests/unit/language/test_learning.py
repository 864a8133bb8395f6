"""The language model's training: it learns, resumes to the bit, and is told what it should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganline.data.loader import Batches
from ganline.devices import machine, make_exact, pick
from ganline.language import learning
from ganline.language.config import LlmConfig
from ganline.language.learning import Texts, learn, make_language_state, nats_per_token, starts, unigram_nats
from ganline.training.loop import Run
from ganline.training.state import checkpoints, pack
from ganline.training.tracker import read_lines

SHAPE = {"vocab": 8, "num_tokens": 16, "num_classes": 3, "prompt_dim": 5}
CONFIG = LlmConfig.model_validate(
    {
        "total_kimg": 1.6,
        "batch": 16,
        "precision": "fp32",
        "size": {"width": 16, "layers": 1, "heads": 1},
        "dropout": 0.1,
        "lr": {"start": 1e-2, "end": 1e-3},
        "tick_kimg": 0.16,
        "checkpoint_seconds": 0.0,
    }
)


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


def texts(digits) -> Texts:
    """Tokens of real digits: 4 x 4 means of brightness, eight levels."""

    def tokens(name: str) -> np.ndarray:
        blocks = digits.split(name).images.reshape(-1, 4, 4, 4, 4).mean((2, 4)).reshape(-1, 16)
        return np.minimum(blocks // 32, 7).astype(np.int16)

    def prompts(rows: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        return torch.randn(len(rows), 5, generator=draws)

    train, val = digits.split("train"), digits.split("val")
    return Texts(train, tokens("train"), tokens("val"), val.labels, prompts)


def run(digits, work, **options):
    make_exact(threads=1)
    config = CONFIG.model_copy(update=options)
    compute = pick(config.precision)
    return learn(config, texts(digits), SHAPE, run=Run(work, "recipe", machine(compute)), compute=compute)


def test_it_learns_more_than_the_histograms_of_positions(digits, tmp_path) -> None:
    state, given, compute = run(digits, tmp_path, total_kimg=12.0), texts(digits), pick("fp32")
    learned = nats_per_token(state.llm_ema, given.val_tokens, given.val_labels, compute)
    assert learned < unigram_nats(given.tokens, given.val_tokens, 8) < math.log(8)
    lines = read_lines(tmp_path / "history.jsonl")
    assert lines[-1]["val_nats_per_token"] == pytest.approx(learned, rel=1e-6)
    assert lines[-1]["nats_per_token"] < lines[0]["nats_per_token"]


@pytest.mark.parametrize("options", [{"precision": "fp32"}, {"precision": "bf16"}, {"compile": True}], ids=str)
def test_a_killed_run_ends_in_the_same_bits(options, digits, tmp_path, monkeypatch) -> None:
    whole = run(digits, tmp_path / "whole", **options)
    real = learning.learn_step

    def step_then_die(state, *rest):
        if state.step == 57:
            raise Killed
        return real(state, *rest)

    monkeypatch.setattr(learning, "learn_step", step_then_die)
    with pytest.raises(Killed):
        run(digits, tmp_path / "killed", **options)
    monkeypatch.setattr(learning, "learn_step", real)
    assert checkpoints(tmp_path / "killed" / "checkpoints")[-1].name == "step-000000050"
    again = run(digits, tmp_path / "killed", **options)
    one, two = pack(whole), pack(again)
    assert one.keys() == two.keys() and not [name for name in one if not torch.equal(one[name], two[name])]
    history = [(tmp_path / name / "history.jsonl").read_bytes() for name in ("whole", "killed")]
    assert history[0] == history[1]


def test_a_finished_run_called_again_changes_nothing(digits, tmp_path) -> None:
    first, before = run(digits, tmp_path), (tmp_path / "history.jsonl").read_bytes()
    again = pack(run(digits, tmp_path))
    assert all(torch.equal(tensor, again[name]) for name, tensor in pack(first).items())
    assert (tmp_path / "history.jsonl").read_bytes() == before


def test_conditions_come_as_often_as_configured(digits) -> None:
    state = make_language_state(CONFIG, SHAPE, pick("fp32"))
    llm, given = state.llm, texts(digits)
    batches = Batches(given.train, batch=16, seed=0, mirror=False, device=torch.device("cpu"))
    rows = torch.arange(400).repeat(10)
    with torch.no_grad():
        found = starts(llm, rows, batches, step=0, config=CONFIG, prompts=given.prompts)
        classes = llm.embed(batches.label_of(rows) + llm.vocab)
        nothing = llm.embed(torch.tensor(llm.nothing))
    is_class, is_nothing = (found == classes).all(1), (found == nothing).all(1)
    assert is_nothing.float().mean() == pytest.approx(CONFIG.unconditional_share, abs=0.02)
    assert (~is_class & ~is_nothing).float().mean() == pytest.approx(CONFIG.prompt_share, abs=0.03)


def test_a_batch_that_is_not_finite_leaves_the_weights_alone(digits, tmp_path) -> None:
    make_exact(threads=1)
    given, compute = texts(digits), pick("fp32")
    state = make_language_state(CONFIG, SHAPE, compute)
    before = {name: tensor.clone() for name, tensor in pack(state).items() if name.startswith("llm/")}
    batches = Batches(given.train, batch=16, seed=0, mirror=False, device=torch.device("cpu"))
    tokens = torch.from_numpy(given.tokens.astype(np.int64))

    def broken(rows, draws):
        return torch.full((len(rows), 5), torch.nan)

    loss, masked = learning.learn_step(state, CONFIG, batches, tokens, broken, compute)
    assert not torch.isfinite(loss) and masked == 1.0
    after = pack(state)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_unigram_nats_in_closed_form() -> None:
    train = np.array([[0, 1], [0, 1], [1, 1], [0, 0]], dtype=np.int16)
    test = np.array([[0, 1]], dtype=np.int16)
    assert unigram_nats(train, test, 2) == pytest.approx(-(math.log(4 / 6) + math.log(4 / 6)) / 2)
