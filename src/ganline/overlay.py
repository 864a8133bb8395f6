"""Plain mappings laid over one another: presets over params.yaml, a way over what all ways share."""

from __future__ import annotations

from typing import Any


def merge(base: Any, overlay: Any) -> Any:
    """Overlay wins. Mappings merge key by key, except variants: a mapping with another `name` replaces the base's."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    if overlay.get("name", base.get("name")) != base.get("name"):
        return overlay
    return base | {key: merge(base.get(key), value) for key, value in overlay.items()}
