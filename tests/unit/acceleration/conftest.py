"""One exported generator for all tests: the first export loads the exporter, which takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganline.acceleration.export import export_generator
from ganline.acceleration.fold import fold
from tests.unit.acceleration.small import small


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small class-conditional generator as an ONNX file."""
    G = small()
    path = tmp_path_factory.mktemp("exported") / "generator.onnx"
    export_generator(fold(G), path, num_classes=G.num_classes)
    return path
