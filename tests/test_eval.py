"""`python -m src.eval`: the maps it writes score as it says, and nothing depends on who scores them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from scripts.results.other_starts import STARTS, unfold_from_others
from scripts.results.pictures import draw
from scripts.results.prompt_table import FUSIONS, OWN
from scripts.results.prompts import NUS, measure
from scripts.results.step_gains import mean_gains
from scripts.results.store import identity
from src.cli.run_folder import LOCK
from src.data.splits import name_position
from src.eval import evaluate
from src.models.diagnostics import GAINED_BY
from src.score import score_maps_of
from src.train import train
from src.utils.errors import UserError
from src.utils.revision import UNKNOWN
from tests.fixtures.folders import write_cod, write_set
from tests.fixtures.tiny import TINY_OVERRIDES, config
from tests.fixtures.trained_run import write_untrained

SETS = ("CAMO", "NC4K")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_cod(tmp_path_factory.mktemp("data"), test=5)


@pytest.fixture(scope="module")
def checkpoint(root: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    overrides = [
        "experiment=camo_lite0",
        *TINY_OVERRIDES,
        f"data.root={root}",
        f"data.test_sets=[{','.join(SETS)}]",
        f"paths.output_dir={folder}",
    ]
    train(
        config(
            "train",
            *overrides,
            "trainer.max_epochs=1",
            "trainer.limit_train_batches=1",
            "model.net.channels=16",
            "test=false",
        )
    )
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def evaluated(checkpoint: Path, tmp_path_factory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("eval")
    return folder, evaluate(
        config("eval", "trainer=cpu", f"ckpt_path={checkpoint}", f"paths.output_dir={folder}", "workers=2")
    )


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_the_maps_score_the_same_to_the_last_digit(evaluated, root, tmp_path):
    folder, scores = evaluated
    for dataset in SETS:
        places = [
            f"preds={folder / 'maps' / dataset}",
            f"gts={root / 'TestDataset' / dataset / 'GT'}",
            f"set={dataset}",
            "method=net",
        ]
        results = score_maps_of(config("score", *places, f"paths.output_dir={tmp_path / dataset}", "workers=0"))
        (one,) = results[dataset]
        ours = [row for row in _rows(folder / "per_image.csv") if row["dataset"] == dataset]
        theirs = _rows(tmp_path / dataset / "per_image.csv")
        assert [row | {"method": "net"} for row in ours] == theirs
        assert len(theirs) == 5
        for name, value in one.scalars.items():
            (stored,) = [
                row for row in _rows(folder / "metrics.csv") if (row["dataset"], row["map"]) == (dataset, "M̂_5")
            ]
            assert float(stored[name]) == value
            assert scores[f"test/{dataset}/{name}"] == pytest.approx(value, abs=1e-6)


def test_workers_change_no_byte(evaluated, checkpoint, tmp_path):
    evaluate(config("eval", "trainer=cpu", f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path}", "workers=0"))
    files = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name != LOCK]
    assert {"report.html", "metrics.md", "metrics.tex", "per_image.csv", "camourflage_9000.png"} <= {
        path.name for path in files
    }
    for path in files:
        assert (tmp_path / path).read_bytes() == (evaluated[0] / path).read_bytes(), path


def test_every_set_has_its_curves_gallery_and_stages(evaluated):
    folder, _ = evaluated
    for dataset in SETS:
        for name in (f"curves_{dataset}.png", f"curves_{dataset}.pdf", f"gallery_{dataset}.png"):
            assert (folder / name).stat().st_size > 1000
    rows = [row for row in _rows(folder / "metrics.csv") if row["numbers"] == "measured"]
    stages = [f"M_{k}" for k in range(5)]
    assert [(row["dataset"], row["map"]) for row in rows] == [
        (dataset, name) for dataset in SETS for name in (*stages, "M̂_5")
    ]
    compared = {(row["dataset"], row["first"], row["second"]) for row in _rows(folder / "comparisons.csv")}
    assert compared == {(dataset, "M̂_5", name) for dataset in SETS for name in stages}
    text = (folder / "metrics.md").read_text(encoding="utf-8")
    for words in (
        "64 × 64 px",
        "last.ckpt, not selected",
        "CAMO-Test, 5 of 250 images",
        "RUN (test_efficientnet)",
        "published",
    ):
        assert words in text
    assert text.count("CAMO-Test, 5 of 250 images") == 2  # once under each of its two tables


@pytest.mark.usefixtures("no_pictures")
def test_the_raw_protocol_and_extras_go_through(checkpoint, tmp_path):
    overrides = [
        "metrics.protocol=raw",
        "metrics.extra=[auc]",
        "data.test_sets=[CAMO]",
        "report.columns=[auc,mae]",
        "report.published_settings=[]",
    ]
    evaluate(
        config(
            "eval", "trainer=cpu", f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path}", "workers=1", *overrides
        )
    )
    text = (tmp_path / "metrics.md").read_text(encoding="utf-8")
    assert "| method | AUC ↑ | MAE ↓ |" in text
    assert "Protocol raw" in text
    assert "auc" in _rows(tmp_path / "per_image.csv")[0]


def test_what_the_report_cannot_show_is_said_before_the_network_runs(checkpoint, tmp_path):
    overrides = [
        "report.columns=[hce]",
        "trainer=cpu",
        f"ckpt_path={checkpoint}",
        f"paths.output_dir={tmp_path / 'out'}",
    ]
    with pytest.raises(UserError, match=r"report\.columns"):
        evaluate(config("eval", *overrides))
    assert not (tmp_path / "out").exists()


def test_mistakes_are_told_together_and_a_report_is_not_overwritten(evaluated, checkpoint):
    folder, _ = evaluated
    before = (folder / "metrics.csv").read_bytes()
    overrides = ["report.digits=9", "workers=-1", "metrics.extra=[context_weighted]", f"paths.output_dir={folder}"]
    with pytest.raises(UserError) as error:
        evaluate(config("eval", "trainer=cpu", f"ckpt_path={checkpoint}", *overrides))
    for words in (
        "report.digits=9",
        "workers=-1",
        "context_weighted looks at the images",
        "already; choose another folder",
    ):
        assert words in str(error.value), words
    assert (folder / "metrics.csv").read_bytes() == before


@pytest.mark.usefixtures("no_pictures")
def test_the_holdout_is_read_as_a_test_set_and_the_test_sets_are_not(checkpoint, root, tmp_path):
    moved = root / "TestDataset"
    moved.rename(root / "elsewhere")
    try:
        scores = evaluate(
            config("eval", "trainer=cpu", f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path}", "split=holdout")
        )
    finally:
        (root / "elsewhere").rename(moved)
    rows = _rows(tmp_path / "per_image.csv")
    stems = [path.stem for path in (root / "TrainDataset" / "CAMO" / "GT").iterdir()]
    assert sorted(row["image"] for row in rows) == sorted(stem for stem in stems if name_position(stem) < 0.1) != []
    assert {row["dataset"] for row in rows} == {"CAMO-holdout"}
    assert scores["test/CAMO-holdout/mae"] == pytest.approx(
        sum(float(row["mae"]) for row in rows) / len(rows), abs=1e-6
    )
    text = (tmp_path / "metrics.md").read_text(encoding="utf-8")
    assert "CAMO-Test" not in text
    assert "published" not in text


def test_pictures_of_the_images_that_the_unfolding_mends_and_spoils(checkpoint, tmp_path):
    files = draw(checkpoint, tmp_path / "maps", None, each=1, photographs=False)
    assert [path.name for path in files] == ["gained_1.png", "lost_1.png", "wrong_1.png"]
    with_photographs = draw(checkpoint, tmp_path / "all", None, each=1, photographs=True)
    assert Image.open(files[0]).width < Image.open(with_photographs[0]).width  # three panels less
    with pytest.raises(UserError, match="holds pictures already"):
        draw(checkpoint, tmp_path / "maps", None, each=1, photographs=False)


@pytest.mark.usefixtures("no_pictures")
def test_another_final_mask_of_the_same_network_is_told(checkpoint, evaluated, tmp_path):
    one_set = [f"ckpt_path={checkpoint}", "data.test_sets=[CAMO]", "trainer=cpu"]
    folders = {"closed": evaluated[0], "open": tmp_path / "open", "sharper": tmp_path / "sharper"}
    evaluate(config("eval", *one_set, f"paths.output_dir={folders['open']}", "closing_step=false"))
    evaluate(config("eval", *one_set, f"paths.output_dir={folders['sharper']}", "sharpness=2", "flip=true"))
    closed, opened, sharper = ((folder / "report.html").read_text(encoding="utf-8") for folder in folders.values())
    assert "closing_step" in closed
    assert "M̂<sub>" in closed
    assert "closing_step" not in opened
    assert "M̂<sub>" not in opened
    assert "multiplied by 2 (sharpness)" in sharper
    assert "mirror image (flip)" in sharper
    assert "mirror image" not in closed
    rows = [
        [row["mae"] for row in _rows(folder / "per_image.csv") if row["dataset"] == "CAMO"]
        for folder in folders.values()
    ]
    assert [len(values) for values in rows] == [5, 5, 5]
    assert len(set(map(tuple, rows))) == 3


@pytest.mark.usefixtures("no_pictures")
def test_two_rounds_are_said_to_be_two(checkpoint, evaluated, tmp_path):
    folder, once = evaluated
    scores = evaluate(
        config("eval", "trainer=cpu", f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path}", "rounds=2")
    )
    assert scores.keys() == once.keys()
    text, before = ((place / "metrics.md").read_text(encoding="utf-8") for place in (tmp_path, folder))
    assert "RUN-2 (test_efficientnet)" in text
    assert "2 rounds: each further one magnifies" in text
    assert "RUN-2" not in before
    assert "stage by stage" in before
    assert "stage by stage" not in text  # stages of the first round and the mask of both rounds would not fit together


def test_what_the_stages_make_of_other_starts(checkpoint):
    rows = unfold_from_others(checkpoint, None)
    assert {*rows["dataset"]} == {"CAMO"}
    assert {*rows["split"]} == {"holdout"}
    assert list(rows["start"].unique()) == ["its own", *STARTS]
    scores = rows.set_index(["start", "map"])[["s_alpha", "mae"]]
    assert scores.loc[("the truth", "M_0"), "mae"] < 0.1 < 0.9 < scores.loc[("the truth inverted", "M_0"), "mae"]
    assert scores.loc[("the truth", "M_0"), "s_alpha"] > 0.9
    assert (scores.loc[("its own", "M_1")] != scores.loc[("nothing", "M_1")]).any()


@pytest.mark.usefixtures("no_pictures")
def test_prompts_are_made_from_the_truth_and_told(checkpoint, evaluated, tmp_path):
    one_set = [f"ckpt_path={checkpoint}", "data.test_sets=[CAMO]", "trainer=cpu"]
    before = [float(row["mae"]) for row in _rows(evaluated[0] / "per_image.csv") if row["dataset"] == "CAMO"]
    for kind in ("coarse_1", "clicks_3"):
        folder = tmp_path / kind
        scores = evaluate(config("eval", *one_set, f"prompts={kind}", f"paths.output_dir={folder}"))
        assert scores["test/CAMO/mae"] != pytest.approx(sum(before) / len(before))
        if kind == "coarse_1":  # a network after one training step makes little of clicks
            assert scores["test/CAMO/mae"] < sum(before) / len(before)
        report = (folder / "metrics.md").read_text(encoding="utf-8")
        assert f"Prompts were made from the truth ({kind}); they are a term of the closing step." in report
        assert ("corrective clicks on average until the IoU is 0.8 (NoC@80)" in report) == (kind == "clicks_3")
        assert ("test/CAMO/noc_80" in scores) == (kind == "clicks_3")
    assert 0 <= scores["test/CAMO/noc_80"] <= 20


def test_what_prompts_are_worth(checkpoint, tmp_path):
    """Every prompt with every method; maps of others that are missing are named before anything is measured."""
    with pytest.raises(UserError, match=r"--maps fpn=.*: no map of camourflage_\d+ and 1 more"):
        measure(checkpoint, None, {"fpn": tmp_path}, images=2)
    tested = measure(checkpoint, None, {}, images=1, test_set="NC4K")
    assert {*tested["dataset"]} == {"NC4K"}
    rows = measure(checkpoint, None, {}, images=2)
    assert {*rows["dataset"]} == {"CAMO-holdout"}
    assert not {*rows["image"]} & {*tested["image"]}
    term = [f"term in the closing step, ν = {nu:g}" for nu in NUS]
    assert set(rows[rows["prompt"] == "box"]["method"]) == {*term, *FUSIONS} - {OWN}
    assert set(rows[rows["prompt"] == "clicks_5"]["method"]) == {*term, "sum of logits"}
    assert len(rows[rows["prompt"] == "nothing"]) == 2
    means = rows.groupby(["prompt", "method"])["s_alpha"].mean()
    assert means["coarse_1", "prompt alone"] > means["coarse_2", "prompt alone"]
    assert means["coarse_1", term[-1]] > means["nothing", OWN]
    assert rows[rows["prompt"] == "clicks_5"]["clicks"].between(0, 20).all()


def test_what_the_parts_of_the_mask_step_gain(checkpoint):
    """Every part has a finite gain in every step, the closing step included; B_0 has no evidence yet."""
    rows = mean_gains(checkpoint, None)
    assert {*rows["dataset"]} == {"CAMO"}
    assert {*rows["split"]} == {"holdout"}
    gains = rows.set_index(["part", "step"])["gain"]
    assert list(gains.index) == [(part, step) for part in GAINED_BY for step in (1, 2, 3, 4, 5)]
    assert (gains.abs() < 1).all()
    assert gains["(a) the evidence of U", 1] == pytest.approx(0, abs=1e-6)
    with pytest.raises(UserError, match="does not say of which commit"):
        identity({"commit": UNKNOWN}, "CAMO-holdout", "run", checkpoint)


def test_only_a_run_with_mask_steps_can_be_looked_into(root, tmp_path):
    for model, words in (("fpn", "FPN has no stages"), ("fpn_ds", "mask step")):
        small = [
            "experiment=camo_lite0",
            *TINY_OVERRIDES,
            f"data.root={root}",
            f"paths.output_dir={tmp_path}",
            "model.net.channels=16",
        ]
        with pytest.raises(UserError, match=words):
            mean_gains(write_untrained(config("train", *small, f"model={model}"), tmp_path / f"{model}.ckpt"), None)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["prompts=boxes"], "prompts=boxes: expected box, box_jitter"),
        (["prompts=box", "closing_step=false", "rounds=2"], "prompts=box: this RUN takes none"),
        (["split=val"], "split=val: expected test or holdout"),
        (["rounds=0"], "rounds=0: expected 1"),
        (["sharpness=0"], "sharpness=0.*: expected a number above 0"),
        (["sharpness=nan"], "sharpness=nan: expected a number above 0"),
        (["split=holdout", "data.test_sets=[CAMO]"], "split=holdout reads no test set"),
    ],
)
def test_splits_that_are_not_there_are_refused(checkpoint, tmp_path, overrides, words):
    with pytest.raises(UserError, match=words):
        evaluate(
            config("eval", "trainer=cpu", f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path / 'out'}", *overrides)
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_folder_of_ones_own_is_called_by_its_name(tmp_path):
    """Also where the network was trained on such a folder, of which it held out a part."""
    for name in ("Toads", "Frogs"):
        write_set(tmp_path / name, (f"{name}_{i}" for i in range(3)))
        (tmp_path / name / "Imgs").rename(tmp_path / name / "images")
        (tmp_path / name / "GT").rename(tmp_path / name / "masks")
    trained_on = config(
        "train", "experiment=camo_lite0", "data=folder", *TINY_OVERRIDES, f"data.root={tmp_path / 'Toads'}"
    )
    path = write_untrained(trained_on, tmp_path / "toads.ckpt")
    words = [f"ckpt_path={path}", f"data.root={tmp_path / 'Frogs'}", f"paths.output_dir={tmp_path / 'out'}"]
    evaluate(config("eval", "trainer=cpu", *words, "data.test_sets=[.]", "workers=0"))
    rows = _rows(tmp_path / "out" / "per_image.csv")
    assert {row["dataset"] for row in rows} == {"Frogs"}
    assert len(rows) == 3
