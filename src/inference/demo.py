"""From a network to its page: export into the cache, fetch the runtime, put the files together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from src.inference.onnx_network import OnnxNetwork
from src.inference.opening import ONNX_SUFFIX, network_file
from src.inference.runtime import web_runtime
from src.inference.site import Site, make_site
from src.utils.cache_dir import cache_dir

EDITION = 5
"""Version of an exported file, of its format and of what it computes; raising it exports every network again."""


def demo_site(source: str, runtime: str | None = None, say: Callable[[str], None] = print) -> Site:
    """Return the page for a trained network.

    Args:
        source: what :func:`src.inference.opening.open_network` takes. An ``.onnx`` file is used as it is (with its
            stages and its prompts, if it was exported with ``stages=true prompts=true``); another one is exported once
            and kept in the cache.
        runtime: see :func:`src.inference.runtime.web_runtime`.
        say: called with each line to print.

    Raises:
        UserError: no such network, one that cannot be exported, or no runtime.
    """
    file = network_file(source)
    files = web_runtime(runtime)
    model = file if file.suffix == ONNX_SUFFIX else cached_export(file, say)
    return make_site(model, files, OnnxNetwork(model))


def cached_export(checkpoint: Path, say: Callable[[str], None]) -> Path:
    """Return the exported network of a checkpoint, with its stages; it is made by the first call."""
    from src.models.prompts import CLOSING_NU, LATE_CLICK_NU, LATE_NU

    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:20]
    weights = "-".join(f"{nu:g}" for nu in (CLOSING_NU, LATE_NU, LATE_CLICK_NU))
    target = cache_dir() / "web" / f"{digest}-{EDITION}-{weights}.onnx"
    if not target.is_file():
        say(f"Exporting {checkpoint}, once; this can take 90 seconds")
        export_with_stages(checkpoint, target, say)
    return target


def export_with_stages(checkpoint: Path, target: Path, say: Callable[[str], None]) -> None:
    """Export a checkpoint with all that the page can show or say: its stages and prompts, if it has or takes them."""
    from src.inference.export.settings import export_settings

    asked = {"size": "dynamic", "pre_post": True, "half": False, "stages": None, "prompts": None, "overwrite": True}
    settings = export_settings({"ckpt_path": str(checkpoint), "out": str(target), **asked})
    from src.inference.export.job import export_network

    export_network(settings, say)
