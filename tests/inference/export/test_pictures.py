"""Resizing inside the file equals Pillow's, and masks are enlarged as everywhere; the network averages colours."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.parser import parse_model

from src.data.pillow_resize import resize_bilinear
from src.inference.enlarge import enlarged_levels
from src.inference.export.pictures import picture_to_image, with_pictures
from src.inference.export.verify import made_up_picture
from src.ops.scan.onnx import OPSET

SIDE = 96
SIZES = [(96, 96), (1, 1), (40, 33), (97, 301), (500, 33), (33, 500), (1200, 90), (700, 650)]


@pytest.fixture(scope="module")
def greyness() -> onnx.ModelProto:
    """A network whose logits are 4 times the image's mean over the colours minus 2; its one stage is the image."""
    return parse_model(f"""<ir_version: 10, opset_import: ["" : {OPSET}]>
        greyness (float[1, 3, {SIDE}, {SIDE}] image)
        => (float[1, 1, {SIDE}, {SIDE}] logits, float[1, 3, {SIDE}, {SIDE}] net_background_1) {{
        colours = Constant <value_ints = [1]> ()
        mean = ReduceMean (image, colours)
        four = Constant <value = float {{4.0}}> ()
        large = Mul (mean, four)
        two = Constant <value = float {{2.0}}> ()
        logits = Sub (large, two)
        net_background_1 = Identity (image)
        }}""")


@pytest.fixture(scope="module")
def plain() -> onnx.ModelProto:
    """A network without stages, whose logits are the image's red channel."""
    return parse_model(f"""<ir_version: 10, opset_import: ["" : {OPSET}]>
        plain (float[1, 3, {SIDE}, {SIDE}] image) => (float[1, 1, {SIDE}, {SIDE}] logits) {{
        red = Constant <value_ints = [0]> ()
        logits = Gather <axis = 1> (image, red)
        }}""")


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_it_resizes_as_training_does(greyness):
    session = _session(picture_to_image(greyness, SIDE))
    for size in SIZES:
        picture = made_up_picture(*size, seed=1)
        image, read_size = session.run(["image", "size"], {"picture": picture})
        assert tuple(read_size) == size
        np.testing.assert_array_equal(np.rint(255 * image[0].transpose(1, 2, 0)), resize_bilinear(picture, SIDE, SIDE))


def test_masks_have_the_size_of_the_picture(greyness):
    session = _session(with_pictures(greyness, SIDE))
    for size in SIZES:
        picture = made_up_picture(*size, seed=2)
        mask, background = session.run(["mask", "background_1"], {"picture": picture})
        logits = background.astype(np.float32).mean(-1) / 255 * 4 - 2
        assert np.abs(mask.astype(int) - enlarged_levels(logits, *size)).max() <= 1
        assert (background.dtype, background.shape) == (np.uint8, (SIDE, SIDE, 3))


@pytest.mark.parametrize("network", ["greyness", "plain"])
def test_onnxruntime_loads_it_without_a_warning(network, request, capfd):
    """With and without a background among the outputs: no constant is left over."""
    _session(with_pictures(request.getfixturevalue(network), SIDE))
    assert capfd.readouterr().err == ""
