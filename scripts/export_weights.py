"""Export a checkpoint as a small file to share.

    python -m scripts.export_weights ckpt_path=FILE.ckpt out=FILE.safetensors

The file has the weights in half precision and the configuration, but no optimiser: a sixth of the checkpoint's size.
`src.eval` and `src.predict` read it with `ckpt_path=…`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.checkpoints.finding import resolve_checkpoint
from src.checkpoints.weights_file import SUFFIX
from src.cli.command import command, console
from src.utils.errors import Problems, UserError
from src.utils.protected import new_file_problem


def export_weights(cfg: DictConfig) -> Path:
    """Write ``cfg.out`` from ``cfg.ckpt_path``; return its path.

    The network is rebuilt first, to make sure that the exported weights fit the exported configuration.

    Raises:
        UserError: no checkpoint or a broken one, an output file that exists, or a suffix other than ``.safetensors``;
            all at once.
    """
    out, problems = Path(cfg.out), Problems()
    with problems.catch():
        content = _content(cfg.ckpt_path)
    with problems.catch():
        if out.suffix != SUFFIX:
            raise UserError(f"out={out}: the file's name must end in {SUFFIX}")
    # `overwrite=missing` has a meaning for predictions only.
    if problem := new_file_problem("out", out, [Path(cfg.ckpt_path)], cfg.overwrite is True):
        problems.append(problem)
    problems.raise_all()
    from src.checkpoints.atomic_io import writable

    with writable(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = out.with_name(f".{out.name}.tmp")
        unfinished.write_bytes(content)
        unfinished.replace(out)
    console().print(f"Written: {out} ({len(content) / 1e6:.1f} MB)", highlight=False)
    return out


def _content(ckpt_path: str) -> bytes:
    path = resolve_checkpoint(ckpt_path, ".")
    assert path is not None
    # Imported here because these import torch: a missing file is reported sooner this way.
    from src.checkpoints.reading import read_checkpoint
    from src.checkpoints.rebuild import rebuild
    from src.checkpoints.weights_file import export_bytes

    checkpoint = read_checkpoint(path)
    rebuild(checkpoint, path)
    return export_bytes(checkpoint, path)


@command("export_weights")
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`export_weights`."""
    export_weights(cfg)


if __name__ == "__main__":
    main()
