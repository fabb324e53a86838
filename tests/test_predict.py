"""`predict`: from a checkpoint and images to the maps on disk."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.predict import predict
from src.report.figures.figure import DPI
from src.report.figures.unfolding import INCHES
from src.utils.errors import UserError
from tests.fixtures.tiny import config


def test_predict_writes_maps_at_the_images_size(trained_run, cod_root, tmp_path):
    checkpoint, images = trained_run.best, cod_root / "TestDataset" / "CAMO" / "Imgs"
    overrides = [f"ckpt_path={checkpoint}", f"input={images}", f"output={tmp_path / 'maps'}", "overlay=true", "device=cpu"]
    written = predict(config("predict", *overrides))
    assert [path.stem for path in written] == sorted(path.stem for path in images.iterdir())
    for path in written:
        with Image.open(path) as map_:
            assert (map_.size, map_.mode) == ((90, 70), "L")
        assert (tmp_path / "maps" / "overlay" / path.name).is_file()
    one = predict(config("predict", *overrides, f"input={images / 'camourflage_9000.jpg'}", f"output={tmp_path / 'one'}", "batch_size=1"))
    assert not (tmp_path / "one" / "stages").exists()
    alone, together = (np.asarray(Image.open(path)).astype(int) for path in (one[0], written[0]))
    assert np.abs(alone - together).max() <= 1
    single = [f"input={images / 'camourflage_9000.jpg'}", f"output={tmp_path / 'two'}", "rounds=2"]
    (twice,) = predict(config("predict", *overrides, *single))
    assert np.asarray(Image.open(twice)).shape == alone.shape
    (opened,) = predict(config("predict", *overrides, *single[:1], f"output={tmp_path / 'open'}", "closing_step=false", "sharpness=2"))
    assert not np.array_equal(np.asarray(Image.open(opened)), alone)
    with pytest.raises(UserError, match="rounds=0"):
        predict(config("predict", *overrides, f"output={tmp_path / 'none'}", "rounds=0"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="overwrite=true"):
        predict(config("predict", *overrides))


def test_predict_draws_the_stages(trained_run, cod_root, tmp_path):
    """A row a stage; thirteen pictures: the image, two masks, the step and its four parts, w, R, E, B, Ĉ."""
    (image, *_) = sorted((cod_root / "TestDataset" / "CAMO" / "Imgs").iterdir())
    checkpoint = trained_run.best
    predict(config("predict", f"ckpt_path={checkpoint}", f"input={image}", f"output={tmp_path}", "stages=true", "device=cpu"))
    with Image.open(tmp_path / "stages" / f"{image.stem}.png") as drawn:
        columns, rows = (round(side / DPI / INCHES - margin) for side, margin in zip(drawn.size, (0.2, 0.4), strict=True))
    net = rebuild(read_checkpoint(checkpoint), checkpoint).net
    assert (columns, rows) == (13, len(net.levels) + 1)  # a stage a row, and the closing step


def test_predict_without_images(trained_run, tmp_path):
    (tmp_path / "empty").mkdir()
    places = [f"ckpt_path={trained_run.best}", f"output={tmp_path / 'maps'}"]
    with pytest.raises(UserError, match="empty"):
        predict(config("predict", *places, f"input={tmp_path / 'empty'}"))
    (tmp_path / "empty" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "empty" / "other.png").write_bytes(b"none either")
    with pytest.raises(UserError, match=r"broken\.jpg") as error:
        predict(config("predict", *places, f"input={tmp_path / 'empty'}"))
    assert "other.png" in str(error.value)
    assert not (tmp_path / "maps").exists()
