"""Export a network to ONNX: ``python -m src.export ckpt_path=FILE out=FILE.onnx`` (settings: `conf/export.yaml`)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.cli.command import command, console


def export(cfg: DictConfig) -> Path:
    """Write ``cfg.out``, run it in onnxruntime, and print how far it is from the network and how long both take.

    Raises:
        UserError: mistakes in the settings, all at once, before anything is loaded; a network that ONNX cannot express;
            a file that differs from its network, which is kept as ``OUT.rejected``.
    """
    from src.inference.export.settings import export_settings

    settings = export_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    out, start = console(), time.perf_counter()
    out.print(f"Exporting {settings.source}; this can take 90 seconds", highlight=False)
    from src.inference.export.job import export_network

    export_network(settings, lambda line: out.print(line, highlight=False, soft_wrap=True))
    size = settings.out.stat().st_size / 1e6
    out.print(f"Written: {settings.out} ({size:.1f} MB) in {time.perf_counter() - start:.0f} s", highlight=False)
    return settings.out


@command("export")
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`export`."""
    export(cfg)


if __name__ == "__main__":
    main()
