"""A whole report: its files, its page, and the options that are checked before any work."""

from __future__ import annotations

import csv
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from src.report.compare import compare
from src.report.compare import main as compare_main
from src.report.files import image_rows, read_image_rows, write_csv
from src.report.write import Report, ReportOptions, write_report
from src.utils.errors import UserError
from tests.fixtures.fake_scores import set_scores

RNG = np.random.default_rng(0)
VALUES = {name: RNG.uniform(0.2, 0.9, 9) for name in ("s_alpha", "mae", "f_adp")}


def _report() -> Report:
    methods = [
        set_scores("NC4K", "one <1>", VALUES),
        set_scores("NC4K", "two", {name: v**2 for name, v in VALUES.items()}),
    ]
    stages = [
        set_scores("CAMO", "net", {name: v + k / 10 for name, v in VALUES.items()}, map_=f"M_{k}") for k in range(2)
    ]
    results = {"NC4K": methods, "CAMO": [set_scores("CAMO", "net", {name: v + 0.1 for name, v in VALUES.items()})]}
    return Report(
        "A test",
        "field",
        results,
        lambda *_: [("truth", np.eye(9)), ("errors", np.zeros((9, 9, 3)))],
        {"CAMO": stages},
        ["Mine."],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    console = Console(width=140, file=(folder / "printed.txt").open("w", encoding="utf-8"))
    write_report(folder, _report(), ReportOptions(), console)
    console.file.close()
    return folder


def _rows(path):
    return list(csv.DictReader(path.open(encoding="utf-8")))


@pytest.mark.slow
def test_every_file_is_there_and_the_same_when_written_again(folder, tmp_path):
    write_report(tmp_path, _report(), ReportOptions(), Console(quiet=True))
    names = {path.name for path in tmp_path.iterdir()}
    tables = {
        "metrics.md",
        "metrics.tex",
        "metrics.csv",
        "per_image.csv",
        "curves.csv",
        "breakdown.csv",
        "comparisons.csv",
        "report.html",
    }
    pictures = {f"{kind}_{name}" for name in ("CAMO", "NC4K") for kind in ("curves", "gallery")}
    assert names == tables | {f"{picture}.png" for picture in pictures} | {"curves_CAMO.pdf", "curves_NC4K.pdf"}
    for name in sorted(names):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_protocol_stands_in_every_table(folder):
    for name in ("metrics.csv", "per_image.csv", "curves.csv", "breakdown.csv", "comparisons.csv"):
        assert {row["protocol"] for row in _rows(folder / name) if row.get("numbers") != "published"} == {"field"}, name
    for name in ("metrics.md", "metrics.tex", "report.html"):
        assert "Protocol field" in (folder / name).read_text(encoding="utf-8")


def test_csv_has_full_precision_and_tells_published_from_measured(folder):
    rows = _rows(folder / "metrics.csv")
    (two,) = [row for row in rows if row["method"] == "two"]
    assert float(two["mae"]) == np.mean(VALUES["mae"] ** 2)
    assert two["numbers"] == "measured"
    published = [row for row in rows if row["numbers"] == "published"]
    assert {row["dataset"] for row in published} == {"NC4K", "CAMO"}
    assert all(row["f_weighted"] == row["e_max"] == "" for row in published)
    assert [row["map"] for row in rows if row["method"] == "net"] == ["M_0", "M_1"]


def test_stages_of_a_network_are_compared_with_the_last(folder):
    rows = [row for row in _rows(folder / "comparisons.csv") if row["dataset"] == "CAMO"]
    assert {(row["first"], row["second"]) for row in rows} == {("M_1", "M_0")}
    (mae,) = [row for row in rows if row["measure"] == "mae"]
    assert float(mae["difference"]) == pytest.approx(0.1)
    assert "CAMO: stage by stage" in (folder / "metrics.md").read_text(encoding="utf-8")


def test_the_terminal_shows_what_was_measured_only(folder):
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    assert "one <1>" in printed
    assert "M_1" in printed
    assert "FEDER" not in printed


class _Page(HTMLParser):
    """Keep the open tags as a stack, and collect all links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "srcset", "action")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.links
    assert all(link.startswith(("data:image/webp;base64,", "#s")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.seen)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert "one &lt;1&gt;" in text
    assert text.count("<img") == 4
    assert text.count("<table>") == text.count("</table>") >= 6


def test_options_are_checked_before_any_work():
    measures, sets = ["s_alpha", "e_mean", "f_weighted", "f_adp", "mae"], ["CAMO"]
    ReportOptions().check(measures, sets)
    for options, words in (
        (ReportOptions(columns=["auc"]), "auc"),
        (ReportOptions(published_settings=["hard"]), "hard"),
        (ReportOptions(reference="nobody"), "nobody"),
        (ReportOptions(digits=0), "digits=0"),
    ):
        with pytest.raises(UserError, match=words):
            options.check(measures, sets, ["somebody"])


def test_parquet_without_pyarrow_is_one_clear_message(monkeypatch):
    monkeypatch.setattr("src.report.files.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install pyarrow"):
        ReportOptions(parquet=True).check(["s_alpha", "e_mean", "f_weighted", "f_adp", "mae"], ["CAMO"])


def test_parquet_holds_the_rows_of_the_csv(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_report(tmp_path, _report(), ReportOptions(parquet=True), Console(quiet=True))
    stored = parquet.read_table(tmp_path / "per_image.parquet").to_pylist()
    assert [str(row["mae"]) for row in stored] == [row["mae"] for row in _rows(tmp_path / "per_image.csv")]


def _per_image(path, *methods, protocol="field"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, image_rows(methods, protocol))
    return path


def test_stored_scores_read_back_the_same(tmp_path):
    one = set_scores("CAMO", "net", VALUES)
    protocol, (back,) = read_image_rows(_per_image(tmp_path / "per_image.csv", one))
    assert (protocol, back.dataset, back.method) == ("field", "CAMO", "net")
    assert back.rows == one.rows


def test_compare_finds_what_the_report_found(folder, tmp_path):
    one, two = _report().results["NC4K"]
    protocol, found = compare(
        [_per_image(tmp_path / "a" / "per_image.csv", one), _per_image(tmp_path / "b" / "per_image.csv", two)]
    )
    stored = [row for row in _rows(folder / "comparisons.csv") if row["dataset"] == "NC4K"]
    assert protocol == "field"
    assert [(c.measure, c.p_holm, c.low) for c in found["NC4K"]] == [
        (r["measure"], float(r["p_holm"]), float(r["low"])) for r in stored
    ]


def test_compare_tells_runs_of_the_same_name_apart(tmp_path, monkeypatch, capsys):
    files = [_per_image(tmp_path / name / "per_image.csv", set_scores("CAMO", "net", VALUES)) for name in ("a", "b")]
    (one, *_) = compare(files)[1]["CAMO"]
    assert (one.first, one.second) == (f"net [{tmp_path / 'a'}]", f"net [{tmp_path / 'b'}]")
    monkeypatch.setattr(
        sys, "argv", ["compare", *map(str, files), "--columns", "mae", "--csv", str(tmp_path / "c.csv")]
    )
    with pytest.raises(SystemExit) as end:
        compare_main()
    assert end.value.code == 0
    assert "| MAE | 9 | +0.0000 | +0.0000 … +0.0000 | 1.0000 | 1.0000 | – |" in capsys.readouterr().out
    assert [row["measure"] for row in _rows(tmp_path / "c.csv")] == ["mae"]


def test_compare_names_every_bad_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path / "none.csv"), str(tmp_path / "other.csv")])
    with pytest.raises(SystemExit) as end:
        compare_main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "none.csv" in error
    assert "other.csv" in error
    a = _per_image(tmp_path / "a.csv", set_scores("CAMO", "x", VALUES))
    b = _per_image(tmp_path / "b.csv", set_scores("CAMO", "y", VALUES), protocol="raw")
    with pytest.raises(UserError, match=r"different protocols(.|\n)*field(.|\n)*raw"):
        compare([a, b])
    with pytest.raises(UserError, match="no data set has two methods"):
        compare([a])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--columns", "f_max"], "maxima of mean curves"),
        (["--csv", "nowhere/c.csv"], "--csv=nowhere/c.csv: no folder nowhere"),
    ],
)
def test_compare_says_what_it_cannot_do(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    files = [
        _per_image(tmp_path / name / "per_image.csv", set_scores("CAMO", name, {"mae": [0.1, 0.2]})) for name in "ab"
    ]
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, files), *arguments])
    with pytest.raises(SystemExit) as end:
        compare_main()
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_images_of_one_name_are_refused(tmp_path):
    path = _per_image(tmp_path / "per_image.csv", set_scores("CAMO", "net", VALUES))
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="1 images of CAMO are listed twice"):
        read_image_rows(path)
