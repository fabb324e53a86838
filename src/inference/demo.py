"""From a network to its page: export into the cache, fetch the runtime, put the files together."""

from __future__ import annotations

import hashlib
from pathlib import Path

from src.inference.onnx_network import OnnxNetwork
from src.inference.opening import ONNX_SUFFIX, network_file
from src.inference.runtime import web_runtime
from src.inference.site import Site, make_site
from src.utils.cache_dir import cache_dir

EDITION = "1"
"""Of the exporter's outputs as the page reads them; another one exports anew."""


def demo_site(source: str, runtime: str | None = None) -> Site:
    """Return the page for a trained network.

    Args:
        source: what :func:`src.inference.opening.open_network` takes. An ``.onnx`` file is used as it is (with its stages, if it was
            exported with ``stages=true``); another one is exported once and kept in the cache.
        runtime: see :func:`src.inference.runtime.web_runtime`.

    Raises:
        UserError: no such network, one that cannot be exported, or no runtime.
    """
    file = network_file(source)
    files = web_runtime(runtime)
    model = file if file.suffix == ONNX_SUFFIX else cached_export(file)
    network = OnnxNetwork(model)
    return make_site(model, files, network.config, network.note)


def cached_export(checkpoint: Path) -> Path:
    """Return the exported network of a checkpoint with its stages; made at the first call, which takes a minute or two."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:20]
    target = cache_dir() / "web" / f"{digest}-{EDITION}.onnx"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        export_with_stages(checkpoint, target)
    return target


def export_with_stages(checkpoint: Path, target: Path) -> None:
    """Export a checkpoint with one output per stage mask, background and edge map."""
    from src.inference.export import export_network

    export_network(checkpoint, target, stages=True)
