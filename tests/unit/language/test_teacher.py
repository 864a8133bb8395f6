"""The teacher: decoding step by step is reading the whole, and an image is a function of its noise and condition."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from ganline.config import load_config
from ganline.devices import host
from ganline.errors import BundleError
from ganline.files import write_json
from ganline.language.drawing import draw, guided
from ganline.language.stepping import Stepper
from ganline.language.teacher import Teacher
from ganline.stages.language import load_teacher
from ganline.stages.places import LLM
from tests.unit.teachers import NUM_TOKENS, PROMPT_DIM, VOCAB, ToyTokenizer, noise, share_equal, teacher

ROOT = Path(__file__).parents[3]


def test_a_step_gives_forwards_logits_at_every_position() -> None:
    llm = teacher().llm.double()
    stepper = Stepper(llm, temperature=0.7)
    start, tokens = torch.randn(5, llm.size.width, dtype=torch.float64), torch.randint(VOCAB, (5, NUM_TOKENS))
    whole, x, caches = llm(start, tokens[:, :-1]) / 0.7, start, stepper.caches(5)
    assert whole.softmax(-1).amax(-1).mean() > 2 / VOCAB  # far from uniform
    for t in range(NUM_TOKENS):
        torch.testing.assert_close(stepper(x, t, caches), whole[:, t], atol=1e-9, rtol=1e-9)
        x = stepper.embed(tokens[:, t])


def test_the_cache_holds_the_keys_and_values_of_the_whole() -> None:
    llm = teacher().llm.double()
    stepper, block = Stepper(llm), llm.model.layers[0]
    start, tokens = torch.randn(2, llm.size.width, dtype=torch.float64), torch.randint(VOCAB, (2, NUM_TOKENS - 1))
    caches, inputs = stepper.caches(2), torch.cat([start[:, None], llm.embed(tokens)], dim=1)
    for t in range(NUM_TOKENS):
        stepper(inputs[:, t], t, caches)
    attention = block.self_attn
    values = attention.split(attention.v_proj(block.input_layernorm(inputs)))
    torch.testing.assert_close(caches[0][1], values, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("drawing", [{}, {"temperature": 0.6, "top_k": 7, "guidance": 2.5}, {"guidance": 0.0}])
def test_tokens_are_drawn_from_what_forward_says_of_the_tokens_before(drawing: dict[str, float]) -> None:
    T = teacher(**drawing)
    z, label = noise(6)
    tokens = T.tokens(z, label)
    both = torch.cat([T.llm.condition(label, batch=6), T.llm.condition(None, batch=6)])
    logits = T.llm(both, tokens[:, :-1].repeat(2, 1)).unflatten(0, (2, 6))
    for t in range(NUM_TOKENS):
        mixed = guided(logits[:, :, t].flatten(0, 1), T.drawing.guidance)
        expected = draw(mixed, z[:, t], temperature=T.drawing.temperature, top_k=T.drawing.top_k)
        assert torch.equal(tokens[:, t], expected)
    torch.testing.assert_close(T(z, label), T.tokenizer.decode(tokens))


def test_an_image_depends_on_its_own_noise_and_condition_alone() -> None:
    T = teacher(guidance=1.5)
    z, label = noise(9)
    together = T.tokens(z, label)
    alone = torch.cat([T.tokens(z[i : i + 1], label[i : i + 1]) for i in range(9)])
    assert share_equal(together, alone) > 0.99
    assert share_equal(together, T.tokens(z, (label + 1) % 3)) < 0.5
    assert share_equal(together, T.tokens(-z, label)) < 0.5


def test_prompts_and_nothing_are_conditions_too() -> None:
    T = teacher(prompts=True)
    z, label = noise(4)
    prompt = torch.randn(4, PROMPT_DIM)
    assert T.prompt_dim == PROMPT_DIM
    found = [T.tokens(z, label), T.tokens(z, prompt), T.tokens(z, None)]
    assert all(share_equal(a, b) < 0.9 for a, b in pairwise(found))


def test_weights_that_change_are_decoded_as_they_are_now() -> None:
    T = teacher()
    z, label = noise(4)
    before, stepper = T.tokens(z, label), T.stepper()
    assert T.stepper() is stepper
    other = copy.deepcopy(T)
    with torch.no_grad():
        other.llm.model.layers[0].mlp.down_proj.weight.neg_()
    assert share_equal(before, other.tokens(z, label)) < 0.9
    T.llm.load_state_dict(other.llm.state_dict())
    assert torch.equal(T.tokens(z, label), other.tokens(z, label))


def test_another_tokenizers_model_is_refused() -> None:
    T, other = teacher(), ToyTokenizer()
    other.vocab = VOCAB + 1
    with pytest.raises(BundleError, match="16 tokens of 41"):
        Teacher(T.llm, other)


@pytest.mark.parametrize("content", [b"{ torn", save({"other": torch.zeros(2)})])
def test_a_damaged_language_model_is_a_message(tmp_path, content) -> None:
    llm = teacher().llm
    shape = {"vocab": llm.vocab, "num_tokens": llm.num_tokens, "num_classes": llm.num_classes}
    (tmp_path / LLM).mkdir(parents=True)
    write_json(tmp_path / LLM / "llm.json", {"size": llm.size.model_dump(mode="json"), **shape})
    (tmp_path / LLM / "llm.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=r"llm\.safetensors is damaged"):
        load_teacher(load_config(ROOT), tmp_path, host())
