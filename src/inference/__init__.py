"""Everything between a picture and its mask: no Lightning, Hydra, torchmetrics or albumentations; with an ``.onnx`` file no torch."""

from src.inference.predictor import Predictor
from src.inference.results import Result

__all__ = ["Predictor", "Result"]
