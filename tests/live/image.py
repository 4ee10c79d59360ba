"""The image that live tests and measurements share.

It is kept in ``build/live`` between runs and built anew only when its recipe changes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

from tachikoma.host.alone import alone
from tachikoma.host.clock import SystemClock
from tachikoma.host.paths import private_dir
from tachikoma.hypervisor.qemu.images import DebianImages
from tachikoma.model.events import silent

IMAGE = "debian"
_ROOT = Path(__file__).resolve().parents[2]
_KEPT = _ROOT / "build" / "live"
_BUILD_S = 900


async def kept_image(environ: Mapping[str, str]) -> Path:
    """Give a data directory with the image ``debian``; ``environ`` is for apt and npm."""
    data, made_from, recipe = private_dir(_KEPT / "data"), _KEPT / "recipe", _recipe()
    images = DebianImages(
        data=data, cache=private_dir(_KEPT / "cache"), clock=SystemClock(), environ=environ
    )
    async with alone(_KEPT / "lock", clock=SystemClock(), deadline_s=_BUILD_S):
        changed = not made_from.exists() or made_from.read_text(encoding="ascii") != recipe
        async with asyncio.timeout(_BUILD_S):
            await images.build(IMAGE, rebuild=changed, report=silent)
        made_from.write_text(recipe, encoding="ascii")
    return data


def _recipe() -> str:
    """Give what changes whenever the code that makes an image does."""
    code = sorted((_ROOT / "tachikoma" / "hypervisor" / "qemu").glob("images*"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()
