"""Resizing inside the file is Pillow's."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from src.data.pillow_resize import resize_bilinear
from src.inference.export.pictures import picture_to_image
from src.inference.export.verify import made_up_picture
from src.ops.scan.onnx import OPSET

SIDE = 96


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    """From a picture to an image of 96 × 96 pixels, without a network."""
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []), opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    empty.ir_version = 10
    model = picture_to_image(empty, SIDE)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [(96, 96), (1, 1), (40, 33), (97, 301), (500, 33), (33, 500), (1200, 90), (700, 650)])
def test_it_resizes_as_training_does(session, size):
    """One level apart in less than one value in a hundred: onnxruntime's weights are rounded otherwise in the 22nd bit."""
    picture = made_up_picture(*size, seed=1)
    image, read_size = session.run(None, {"picture": picture})
    levels = 255 * image[0].transpose(1, 2, 0)
    off = np.abs(levels - resize_bilinear(picture, SIDE, SIDE))
    assert tuple(read_size) == size
    assert off.max() < 1.01
    assert (off > 0.5).mean() < 0.01
