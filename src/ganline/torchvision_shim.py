"""Make `import torchvision` work where its wheel and torch's are of different builds.

PyPI's torchvision is built for CUDA. Beside a CPU build of torch its import fails because two operator schemas are
missing. Declaring them first makes everything but the compiled operators (nms, roi_align, decode_jpeg) work. Call
`ensure_torchvision()` before anything that imports torchvision (torch-fidelity does).
"""

from __future__ import annotations

import sys

_declared: list[object] = []  # a Library's operators vanish with it: keep it alive


def ensure_torchvision() -> None:
    """Import torchvision; only if that fails for want of its operators, declare them and import again."""
    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        import torchvision  # noqa: F401
