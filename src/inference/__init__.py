"""Everything between a picture and its mask, without Lightning, Hydra, torchmetrics or albumentations.

With an ``.onnx`` file it needs no torch, either.
"""

from src.inference.predictor import Predictor
from src.inference.results import Result

__all__ = ["Predictor", "Result"]
