"""The forms in which a generator runs: each is a `Generator`, so the panel and the clock treat all alike.

`eager` is a folded network as it is, `compiled` the same through torch.compile, `onnx` and `int8` are files in ONNX
Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from ganline.acceleration.export import CONDITION, KIND, read_model
from ganline.acceleration.fold import fold
from ganline.acceleration.mixture import MixtureGenerator, mixture
from ganline.devices import Compute
from ganline.errors import BundleError
from ganline.models.spec import Generator


class OnnxGenerator(Generator):
    """A session of ONNX Runtime on the CPU: paints pixels. Labels become one-hot; floats (a mixture, a prompt) pass as
    they are."""

    def __init__(self, session: Any, *, z_dim: int, num_classes: int, prompt_dim: int):
        super().__init__()
        self.session, self.z_dim, self.num_classes, self.prompt_dim = session, z_dim, num_classes, prompt_dim
        self.one_hots = np.eye(num_classes, dtype=np.float32)

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, self.feed(z, condition))[0]).to(z.device)

    def feed(self, z: torch.Tensor, condition: torch.Tensor | None) -> dict[str, np.ndarray]:
        """What the session is given. Arrays share the tensors' memory; at batch 1 that is 20 µs faster than binding
        them (of 330)."""
        arrays = {"z": z.cpu().float().numpy()}
        if self.num_classes or self.prompt_dim:
            assert condition is not None, "this generator needs a label or a prompt's embedding"
            told = condition.cpu()
            arrays[CONDITION] = told.float().numpy() if told.is_floating_point() else self.one_hots[told.numpy()]
        return arrays


class OnnxMixture(MixtureGenerator):
    """A mixture of sessions: the member is chosen among arrays. Chosen among tensors a small one took 1.4 times as long
    as one network at batch 1, so it takes 1.15 times: what is left are six times the weights to find in the caches."""

    def __init__(self, members: Sequence[OnnxGenerator]):
        super().__init__(members)
        self.feed, self.sessions, self.edges = members[0].feed, [G.session for G in members], self.bounds.numpy()

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        arrays = self.feed(z, condition)
        which = self.edges.searchsorted(arrays["z"][:, -1])
        arrays["z"] = arrays["z"][:, :-1]
        if len(z) == 1:
            return torch.from_numpy(self.sessions[which[0]].run(None, arrays)[0]).to(z.device)
        rows = [(which == k).nonzero()[0] for k in range(len(self.sessions))]
        parts = [
            session.run(None, {name: array[at] for name, array in arrays.items()})[0]
            for session, at in zip(self.sessions, rows, strict=True)
            if len(at)
        ]
        return torch.from_numpy(np.concatenate(parts)[np.concatenate(rows).argsort()]).to(z.device)


class CompiledGenerator(Generator):
    """A network through torch.compile: compiled for each batch size at its first call, for torch's threads of that
    moment, or once for all sizes above 1 if they are `dynamic`. More compilations than
    torch._dynamo.config.recompile_limit are an error, not a silent return to eager."""

    def __init__(self, network: Generator, *, dynamic: bool = False):
        super().__init__()
        self.z_dim, self.num_classes, self.prompt_dim = network.z_dim, network.num_classes, network.prompt_dim
        self.tell = network.tell

        def run(z: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
            return network(z, condition)

        self.compiled = compiled_apart(run, dynamic=dynamic)

    def forward(self, z: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.compiled(z, condition)


def compiled_apart(function: Any, *, dynamic: bool = False, **options: Any) -> Any:
    """A plain function through torch.compile. Compilations are kept by code object, which closures share: a copy gives
    each its own, and its own limit."""
    own = FunctionType(function.__code__.replace(), function.__globals__, closure=function.__closure__)
    return torch.compile(own, dynamic=dynamic, fullgraph=True, **options)


def eager_generator(network: Generator, compute: Compute) -> Generator:
    """The network, folded and in the memory format that convolutions like best. On the default family folding is worth
    an eighth at batch 1 and the format a fifth; at batch 64 they are worth a sixth and nothing."""
    return compute.place(fold(network))


def compiled_generator(network: Generator, compute: Compute) -> Generator:
    """`eager_generator` through torch.compile. Raises GanlineError where that finds no compiler.

    Freezing the weights (inductor's `freezing`) was measured to gain nothing on the default family. Members of a
    mixture are compiled for batches of any size, since a batch falls apart in another way each time.
    """
    compute.need_compiler()
    G = eager_generator(network, compute)
    if isinstance(G, MixtureGenerator):
        return mixture([CompiledGenerator(member, dynamic=True) for member in G.members])  # type: ignore[arg-type]
    return CompiledGenerator(G)


def exported(folder: Path, form: str) -> list[Path]:
    """The files of a student's networks in one form, `FORM-NUMBER.onnx`: one, or those of a mixture's members."""
    return sorted(folder.glob(f"{form}-*.onnx"))


def open_generators(folder: Path, form: str, *, threads: int = 1) -> Generator:
    """A student's exported networks in ONNX Runtime, as one generator. Raises BundleError if there are none."""
    if not (files := exported(folder, form)):
        raise BundleError(f"{folder} holds no {form} file", remedy="run `dvc repro accelerate`")
    if len(files) == 1:
        return open_generator(files[0], threads=threads)
    share_memory()
    return OnnxMixture([open_generator(path, threads=threads, shared=True) for path in files])


@cache
def share_memory() -> None:
    """Let sessions that are opened as `shared` put what they compute into the same memory: caches then hold what a
    mixture's last member left there. At batch 64 a small one takes 3.86 ms so and 4.15 without. It stands for the whole
    process and keeps what it grew to; a program that registered memory of its own for ONNX Runtime loses that."""
    import onnxruntime as ort

    where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(where, ort.OrtArenaCfg(0, -1, -1, -1))  # as large as needed, grown as ever


def open_generator(path: Path, *, threads: int = 1, shared: bool = False) -> OnnxGenerator:
    """An exported generator (float32 or int8) in ONNX Runtime; `shared`: see `share_memory`. Raises BundleError for
    any other file.

    Its workers sleep between calls: spinning ones take the cores from whatever else runs (environment.py).
    """
    import onnxruntime as ort

    model = read_model(path)
    kind = next((each.value for each in model.metadata_props if each.key == CONDITION), None)
    widths = {each.name: each.type.tensor_type.shape.dim[1].dim_value for each in model.graph.input}
    if kind not in KIND or "z" not in widths:
        raise BundleError(
            f"{path} is no generator that ganline exported",
            remedy="run `dvc repro accelerate` in the study's workspace",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", str(int(shared)))
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    told = widths.get(CONDITION, 0)
    return OnnxGenerator(
        session,
        z_dim=widths["z"],
        num_classes=told if kind == "classes" else 0,
        prompt_dim=told if kind == "prompt" else 0,
    )
