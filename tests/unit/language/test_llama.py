"""The language model against transformers' Llama; drawing against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from ganline.language.drawing import draw, guided, phi
from ganline.language.llama import NORM_EPS, ROPE_THETA, Llama
from ganline.language.sections import LlamaSize
from ganline.torchvision_shim import ensure_torchvision

SIZE = LlamaSize(width=32, layers=3, heads=4, hidden=48)


def small() -> Llama:
    torch.manual_seed(0)
    return Llama(SIZE, vocab=20, num_tokens=9, num_classes=3).double().eval()


def test_logits_are_those_of_transformers_llama_with_our_weights() -> None:
    ensure_torchvision()  # transformers imports it
    transformers = pytest.importorskip("transformers")

    llm = small()
    with torch.no_grad():
        for weight in llm.parameters():
            weight.mul_(8.0) if weight.ndim == 2 else weight.uniform_(0.5, 1.5)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=24,
            hidden_size=SIZE.width,
            intermediate_size=SIZE.ffn,
            num_hidden_layers=SIZE.layers,
            num_attention_heads=SIZE.heads,
            rms_norm_eps=NORM_EPS,
            rope_theta=ROPE_THETA,
            tie_word_embeddings=False,
        )
    ).double()
    theirs.load_state_dict(llm.state_dict())
    start, tokens = torch.randn(4, SIZE.width, dtype=torch.float64), torch.randint(20, (4, 8))
    with torch.no_grad():
        ours = llm(start, tokens)
        inputs = torch.cat([start[:, None], theirs.get_input_embeddings()(tokens)], dim=1)
        expected = theirs.eval()(inputs_embeds=inputs).logits[..., :20]
    assert expected.std() > 0.5
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)


def test_a_token_is_the_quantile_at_phi_of_z() -> None:
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    levels = torch.tensor([0.001, 0.099, 0.101, 0.299, 0.301, 0.599, 0.601, 0.999])
    z = math.sqrt(2) * torch.erfinv(2 * levels - 1)
    torch.testing.assert_close(phi(z), levels, atol=1e-6, rtol=0)
    assert draw(shares.log().expand(8, -1), z).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_extreme_noise_draws_the_first_and_the_last_token_that_may_be_drawn() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).expand(2, -1)
    extremes = torch.tensor([-6.0, 6.0])  # float32 normals reach no further
    assert draw(logits, extremes).tolist() == [0, 3]
    assert draw(logits, extremes, top_k=2).tolist() == [1, 2]


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 3), (1.0, 1)])
def test_frequencies_of_draws_follow_the_softmax(temperature: float, top_k: int | None) -> None:
    n, logits = 100_000, torch.tensor([0.3, -1.0, 2.0, 0.0, 1.2])
    expected = (logits / temperature).exp()
    if top_k:
        expected[logits.argsort()[:-top_k]] = 0
    expected /= expected.sum()
    z = torch.randn(n, generator=torch.Generator().manual_seed(1))
    found = draw(logits.expand(n, -1), z, temperature=temperature, top_k=top_k).bincount(minlength=5) / n
    torch.testing.assert_close(found, expected, atol=5 * 0.5 / n**0.5, rtol=0)


def test_guidance_moves_logits_from_nothing_through_the_condition() -> None:
    told, nothing = torch.randn(3, 5), torch.randn(3, 5)
    both = torch.cat([told, nothing])
    torch.testing.assert_close(guided(both, 1.0), told)
    torch.testing.assert_close(guided(both, 0.0), nothing)
    torch.testing.assert_close(guided(both, 2.5), told + 1.5 * (told - nothing))
