"""The resize inside an exported file, in onnxruntime, against Pillow's own, in every pixel."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from src.data import pillow_resize
from src.data.pillow_resize import Order, pillow_order, resize_bilinear
from src.inference.export.resize import SIZE, SMALL, resize_graph

SIZES = [
    (1, 1),
    (1, 2),
    (7, 3),
    (40, 33),
    (97, 301),
    (500, 33),
    (33, 500),
    (1200, 90),
    (90, 1200),
    (640, 480),
    (769, 1145),
    (2, 4000),
]
"""Up, down and both at once; tall ones, whose height comes first; more than 64 pixels for one."""


def _session(side: int, order: Order) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = resize_graph(10, side, order == "by shrinkage").SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("side", [32, 97, 104])
def test_every_pixel_is_that_of_pillow(side: int) -> None:
    session = _session(side, pillow_order())
    for size in [*SIZES, (side, side), (side, side + 1)]:
        picture = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
        small, read_size = session.run([SMALL, SIZE], {"picture": picture})
        expected = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(small.transpose(1, 2, 0), expected, str(size))
        assert tuple(read_size) == size


@pytest.mark.parametrize("order", ["width first", "by shrinkage"])
def test_the_order_is_that_of_the_pillow_here(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow up to 12 resizes the width first; a tall picture shows the difference."""
    picture = np.random.default_rng(0).integers(0, 256, (700, 50, 3), dtype=np.uint8)
    (small,) = _session(64, order).run([SMALL], {"picture": picture})
    for one in ("width first", "by shrinkage"):
        monkeypatch.setattr(pillow_resize, "pillow_order", lambda one=one: one)
        assert np.array_equal(small.transpose(1, 2, 0), resize_bilinear(picture, 64, 64)) == (one == order)


def test_white_and_black_stay() -> None:
    session = _session(32, pillow_order())
    for level in (0, 255):
        (small,) = session.run([SMALL], {"picture": np.full((2300, 31, 3), level, np.uint8)})
        assert (small == level).all()
