"""Which number format `auto` picks."""

import pytest
import torch

from ganline import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("processor", "amx", "avx512", "fast"),
    [
        ("Intel(R) Xeon(R) Processor", True, True, True),
        ("Intel(R) Xeon(R) Processor", False, True, False),  # AMX hidden by a virtual machine: bf16 is slower there
        ("AMD EPYC", False, True, True),
        ("AMD EPYC", False, False, False),
    ],
)
def test_bf16_is_taken_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, processor: str, amx: bool, avx512: bool, fast: bool
) -> None:
    monkeypatch.setattr(devices, "cpu_model", lambda: processor)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert devices.bf16_is_fast(CPU) is fast
