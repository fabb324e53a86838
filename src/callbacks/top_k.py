"""The k best checkpoints, named by epoch and score."""

from __future__ import annotations

from lightning.pytorch.callbacks import ModelCheckpoint


class TopCheckpoints(ModelCheckpoint):
    """Keeps ``top_<epoch>_<score>.ckpt`` of the ``k`` best validations.

    It is a class of its own because Lightning stores the states of callbacks by class.
    """

    def __init__(self, dirpath: str, monitor: str, mode: str, k: int) -> None:
        name = "top_{epoch:03d}_{" + monitor + ":.4f}"
        super().__init__(
            dirpath=dirpath, filename=name, monitor=monitor, mode=mode, save_top_k=k, auto_insert_metric_name=False
        )
