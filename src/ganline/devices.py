"""The only place that chooses devices, precision, memory format and threads."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from ganline.errors import GanlineError

CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")
Precision = Literal["auto", "fp32", "bf16", "fp16", "fp64"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """Where and how networks run: forward passes in `autocast` (None for none), weights and optimizers in `dtype`."""

    device: torch.device
    autocast: torch.dtype | None
    dtype: torch.dtype = torch.float32

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Run forward passes in the chosen precision; parameters and losses stay in `dtype`."""
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            yield

    def place(self, module: M) -> M:
        """Move a network to the device, in the memory format that its convolutions like best."""
        return module.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def can_compile(self) -> bool:
        """Whether torch.compile finds its compiler here: Triton for a GPU, a C++ one for a CPU."""
        return bool(importlib.util.find_spec("triton") if self.device.type == "cuda" else cpp_compiler())

    def need_compiler(self) -> None:
        """Raise GanlineError where torch.compile would find no compiler."""
        if not self.can_compile():
            raise GanlineError(
                "torch.compile finds no compiler",
                expected="g++ or clang++ for a CPU, triton for a GPU",
                remedy="install one (apt-get install g++), or do without the compiled form",
            )

    def scaler(self) -> torch.amp.GradScaler | None:
        """What keeps fp16 gradients from vanishing; None where the precision needs no scaling."""
        return torch.amp.GradScaler(self.device.type) if self.autocast == torch.float16 else None

    def synchronize(self) -> None:
        """Wait for the device: only for clocks, never inside a step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def full_precision(like: torch.Tensor) -> AbstractContextManager[object]:
    """Switch autocast off around arithmetic that must not lose bits, on the device of `like`."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def pick(precision: Precision = "auto") -> Compute:
    """Choose the device (the GPU of this rank where there is one, else the CPU) and its fast exact-enough precision.

    fp16 is scaled (for GPUs before Ampere), fp64 is for comparisons.
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if precision == "auto":
        precision = "bf16" if bf16_is_fast(device) else "fp32"
    return Compute(device, AUTOCAST.get(precision), torch.float64 if precision == "fp64" else torch.float32)


def host() -> Compute:
    """The CPU in float32: where files for other runtimes are made and checked."""
    return Compute(torch.device("cpu"), None)


def running_sum(x: torch.Tensor) -> torch.Tensor:
    """Sums up to each place of the last axis, float32 [..., V]. On a GPU as a product with a triangle: cumsum adds up
    in any order there, and torch refuses it where algorithms are to be deterministic."""
    if x.device.type == "cpu":
        return x.cumsum(-1)
    return x @ torch.ones(x.shape[-1], x.shape[-1], device=x.device, dtype=x.dtype).triu()


def cpp_compiler() -> str | None:
    """The C++ compiler that torch.compile would call on a CPU."""
    return next((path for name in (os.environ.get("CXX", ""), "g++", "clang++") if (path := shutil.which(name))), None)


def bf16_is_fast(device: torch.device) -> bool:
    """Whether bf16 matrix products beat fp32: GPUs since Ampere; CPUs with AMX, and AMD's with AVX512-BF16.

    On Zen 4 those gain a step 1.1 to 1.7 times; on a Xeon whose AMX the virtual machine hides a step takes 1.4 times as
    long with them (docs/results.md).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    amx, avx512 = (
        bool(getattr(torch.cpu, probe, bool)()) for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return amx or (avx512 and cpu_model().startswith("AMD"))


def available_cores() -> int:
    """Cores that this process may use: the least of affinity, a container's quota and OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, cpu_quota(CGROUP_CPU) or cores, int(asked) if asked.isdigit() else cores))


def cpu_quota(path: Path) -> int | None:
    """Whole cores that a control group (version 2) grants, rounded up; None where there is no limit."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def cpu_model() -> str:
    """The processor's name: two models of one capability may differ in the last bits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def make_exact(*, threads: int | None = None) -> None:
    """Fix what torch lets vary between two runs on one machine: threads and algorithm choice."""
    torch.set_num_threads(threads or available_cores())
    torch.use_deterministic_algorithms(True)
    # It guards against reading memory that nobody wrote, at 7 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # float32 means float32: extractors and the search for neighbours count on its bits. bf16 is chosen by autocast.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def machine(compute: Compute, *, world_size: int = 1) -> dict[str, str | int]:
    """What decides whether two runs may be promised the same bits (DESIGN: the `machine` hash)."""
    on_gpu = compute.device.type == "cuda"
    return {
        "torch": torch.__version__,
        "arch": platform.machine(),
        "device": torch.cuda.get_device_name(compute.device) if on_gpu else cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": str(compute.autocast or compute.dtype).removeprefix("torch."),
        "world_size": world_size,
    }


def device_memory_mb(compute: Compute) -> float | None:
    """Peak device memory in MB, or None on the CPU."""
    return torch.cuda.max_memory_allocated(compute.device) / 2**20 if compute.device.type == "cuda" else None
