"""One prediction: a network, a folder of outputs, and how a picture's result becomes its files."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.inference.outputs import STAGES, Outputs, writing
from src.inference.predictor import Predictor, Prepared
from src.inference.progress import Progress
from src.inference.results import Result
from src.inference.settings import PredictSettings
from src.utils.errors import UserError
from src.utils.whole_file import temporary_beside


class PredictionJob:
    """What all files of a prediction have in common.

    Args:
        predictor: the network.
        outputs: where files go.
        settings: what is written.
        progress: shows how much is to be done and how much is done.

    Raises:
        UserError: stages are requested of a network that has none.
    """

    def __init__(self, predictor: Predictor, outputs: Outputs, settings: PredictSettings, progress: Progress) -> None:
        self.predictor, self.outputs, self.settings, self.progress = predictor, outputs, settings, progress
        self._drawing = threading.Lock()
        if STAGES in settings.types:
            self._check_stages()

    def write(self, prepared: Prepared, result: Result, paths: Mapping[str, Path]) -> None:
        """Write all outputs of one picture."""
        for kind, path in paths.items():
            if kind == STAGES:
                self._draw_stages(prepared, path)
            else:
                self.outputs.write(path, encoded(result, kind, self.outputs.suffix(kind), self.settings))

    def _draw_stages(self, prepared: Prepared, path: Path) -> None:
        """Draw what the stages of the first round made of the mask; matplotlib allows one thread at a time."""
        from src.report.figures.unfolding import draw_unfolding

        network: Any = self.predictor.network
        self.outputs.check(path)
        temporary = temporary_beside(path)
        with self._drawing, writing(path):
            draw_unfolding(temporary, network.net, network.to_input([prepared.network_input])[0], prepared.picture.name)
            os.replace(temporary, path)

    def _check_stages(self) -> None:
        from src.models.wrappers import network_name
        from src.report.figures.unfolding import StagedNetwork

        net = getattr(self.predictor.network, "net", None)
        if not isinstance(net, StagedNetwork):
            name = "an .onnx file" if net is None else network_name(net)
            raise UserError(f"stages=true: {name} has no stages to draw; leave it out, or take a checkpoint of RUN")


def encoded(result: Result, kind: str, suffix: str, settings: PredictSettings) -> bytes:
    """Return one output of a picture as the bytes of its file."""
    return result.encoded(kind, suffix, settings.background, settings.threshold)
