"""What the tables say: marks, arrows, headings, and how the numbers came about."""

from __future__ import annotations

import re

import pytest

from src.report.tables.columns import choose_columns, ranks
from src.report.tables.published import select_published
from src.report.tables.scores import scores_table
from src.report.tables.table import Cell, Head, Table, html, latex, markdown, tex
from src.utils.errors import UserError
from tests.fixtures.fake_scores import set_scores

COLUMNS = ["s_alpha", "e_mean", "f_adp", "mae"]


def _results(count: int = 4) -> dict:
    first = set_scores("NC4K", "first", {"s_alpha": [0.80041] * count, "f_adp": [0.7] * count, "mae": [0.05] * count})
    second = set_scores("NC4K", "second", {"s_alpha": [0.80039] * count, "f_adp": [0.6] * count, "mae": [0.04] * count})
    third = set_scores("NC4K", "third", {"s_alpha": [0.7] * count, "f_adp": [0.5] * count, "mae": [0.06] * count})
    return {"NC4K": [first, second, third]}


def _cells(text: str, method: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {method} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [
        ([0.1, 0.3, 0.2], True, ["", "best", "second"]),
        ([0.1, 0.3, 0.2], False, ["best", "", "second"]),
        ([0.3004, 0.2996, 0.2, None, 0.1], True, ["best", "best", "second", "", ""]),
        ([0.1, 0.2, float("nan")], False, ["best", "second", ""]),
        ([0.3], True, [""]),
        ([None, 0.3], True, ["", ""]),
    ],
)
def test_ranks_follow_what_is_printed(values, higher, expected):
    assert ranks(values, higher, 3) == expected


def test_markdown_marks_best_and_second_and_arrows():
    text = markdown(scores_table("NC4K", _results(), COLUMNS, "field", 3))
    assert "| method | S_α ↑ | E_φ mean ↑ | F_β adp ↑ | MAE ↓ |" in text
    assert _cells(text, "first") == ["**0.800**", "**0.500**", "**0.700**", "<ins>0.050</ins>"]
    assert _cells(text, "second") == ["**0.800**", "**0.500**", "<ins>0.600</ins>", "**0.040**"]
    assert _cells(text, "third") == ["<ins>0.700</ins>", "**0.500**", "0.500", "0.060"]


def test_the_notes_say_how_the_numbers_were_made():
    text = markdown(scores_table("NC4K", _results(), COLUMNS, "field", 3, context=["Input 64 × 64 px."]))
    for words in (
        "NC4K-Test, 4 of 4121 images",
        "MAE 0.2500",
        "field: maps rounded to 8 bits, then min–max",
        "resized bilinearly",
        "256 thresholds",
        "adaptive threshold",
        "3 decimals",
        "64 × 64 px",
    ):
        assert words in text
    assert "neither rounded nor normalised" in markdown(scores_table("NC4K", _results(), COLUMNS, "raw", 3))


def test_resized_maps_are_counted():
    results = _results()
    results["NC4K"][1].resized = 3
    assert "maps of another size than their mask: 3 of second." in markdown(
        scores_table("NC4K", results, COLUMNS, "field", 3)
    )


def test_published_rows_are_told_apart_and_ranked_apart_when_not_comparable():
    published = select_published(["NC4K"], ["common"], ["PVTv2"])
    text = markdown(scores_table("NC4K", _results(), COLUMNS, "field", 3, published))
    assert _cells(text, "RUN (PVTv2)") == ["published", "**0.892**", "**0.940**", "**0.868**", "**0.030**"]
    assert _cells(text, "second")[0] == "measured here"
    assert _cells(text, "second")[-1] == "**0.040**"
    assert "ranked apart" in text
    assert "(MAE, F_β adp, E_φ mean, S_α)" in text


def test_published_rows_are_ranked_with_a_whole_test_set():
    published = select_published(["CHAMELEON"], ["common"], ["PVTv2"])
    ours = set_scores("CHAMELEON", "ours", {"s_alpha": [0.91] * 76, "mae": [0.0201] * 76})
    text = markdown(scores_table("CHAMELEON", {"CHAMELEON": [ours]}, COLUMNS, "field", 3, published))
    assert _cells(text, "ours") == ["measured here", "<ins>0.910</ins>", "0.500", "0.500", "**0.020**"]
    assert _cells(text, "RUN (PVTv2)") == ["published", "**0.916**", "**0.958**", "**0.877**", "<ins>0.021</ins>"]
    assert "ranked apart" not in text
    raw = markdown(scores_table("CHAMELEON", {"CHAMELEON": [ours]}, COLUMNS, "raw", 3, published))
    assert _cells(raw, "RUN (PVTv2)")[-1] == "**0.021**"


def test_a_published_number_never_stands_under_another_measure():
    columns = ["e_max", "f_max", "f_weighted", "s_alpha"]
    text = markdown(scores_table("NC4K", _results(), columns, "field", 3, select_published(["NC4K"])))
    assert _cells(text, "RUN (ResNet50)") == ["published", "–", "–", "–", "0.851"]


def test_latex_is_booktabs_with_marks_arrows_and_one_block_a_data_set():
    results = _results() | {"CAMO": [set_scores("CAMO", "first_one & only", {"mae": [0.1, 0.2]})]}
    text = latex(
        scores_table("NC4K, CAMO", results, ["s_alpha", "mae"], "field", 3, select_published(["CAMO"], ["ms"]))
    )
    assert r"$S_\alpha\uparrow$ & $\mathrm{MAE}\downarrow$ & $S_\alpha\uparrow$" in text
    assert r"\multicolumn{2}{c}{NC4K} & \multicolumn{2}{c}{CAMO} \\" in text
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" in text
    assert r"first\_one \& only & measured here & -- & -- & 0.500 & 0.150 \\" in text
    assert r"RUN-4 (ResNet50, multiple stages) & published" in text
    assert r"first & measured here & \textbf{0.800} & \underline{0.050} & -- & -- \\" in text
    for command in (r"\toprule", r"\bottomrule"):
        assert text.count(command) == 1
    assert text.count(r"\midrule") == 2  # under the head, between published and measured
    assert text.count("{") == text.count("}")
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns is not None
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") + 1 for line in rows} == {len(columns[1])}


def test_tex_escapes_and_knows_our_symbols():
    assert tex("50 % of a_b & c#") == r"50 \% of a\_b \& c\#"
    assert tex("β² = 0.3, S_α of M_4, 2·mean") == r"$\beta^2$ = 0.3, $S_\alpha$ of $M_{4}$, 2$\cdot$mean"
    assert tex("M̂_5") == r"$\hat{M}_{5}$"
    assert tex("a\\b") == r"a\textbackslash{}b"


def test_html_escapes_and_marks():
    table = Table(
        "a < b",
        [Head("m", is_number=False), Head("x")],
        [[Cell("<i>"), Cell("1", "best")], [Cell("n"), Cell("2", "second")]],
    )
    text = html(table)
    assert "a &lt; b" in text
    assert '<td class="name">&lt;i&gt;</td><td><b>1</b></td>' in text
    assert "<u>2</u>" in text
    indexed = html(Table("F_β^w of M_4", [Head("S_α ↑"), Head("my_name")], []))
    assert "F<sub>β</sub><sup>w</sup> of M<sub>4</sub>" in indexed
    assert "S<sub>α</sub> ↑" in indexed
    assert "M̂<sub>5</sub>" in html(Table("M̂_5", [], []))
    assert "my_name" in indexed


def test_columns_by_task_by_name_and_by_list():
    available = ["s_alpha", "e_mean", "e_max", "f_weighted", "f_adp", "mae", "iou", "iou_mean", "dice", "dice_mean"]
    assert choose_columns(None, available, ["CAMO"]) == ["s_alpha", "e_mean", "f_weighted", "f_adp", "mae"]
    assert choose_columns(None, available, ["Kvasir-SEG", "ETIS"])[:2] == ["dice_mean", "iou_mean"]
    assert choose_columns(None, available, ["Kvasir-SEG", "CAMO"])[0] == "s_alpha"
    assert choose_columns("polyp", available, ["CAMO"])[0] == "dice_mean"
    assert choose_columns(["mae", "iou", "mae"], available, ["CAMO"]) == ["mae", "iou"]
    with pytest.raises(UserError, match=r"context.*choose from.*s_alpha"):
        choose_columns(["context", "mae"], available, ["CAMO"])


def test_published_rows_are_selected_by_set_setting_and_backbone():
    assert len(select_published(["CAMO"])) == 13
    assert len(select_published(["CAMO"], ["common", "mis", "ms"])) == 19
    assert select_published(["CAMO"], []) == []
    assert select_published(["synthetic"]) == []
    (row,) = [row for row in select_published(["COD10K"], ["common"], ["PVTv2"]) if row.method == "RUN"]
    assert row.scores["COD10K"] == {"mae": 0.021, "f_adp": 0.810, "e_mean": 0.941, "s_alpha": 0.878}
    with pytest.raises(UserError, match=r"Swin.*PVTv2"):
        select_published(["CAMO"], ["common"], ["Swin"])
    with pytest.raises(UserError, match=r"easy.*common"):
        select_published(["CAMO"], ["easy"])


def test_latex_calls_a_measure_in_its_caption_as_in_its_header():
    columns = ["mae", "iou", "dice_max", "e_max"]
    text = latex(scores_table("A", {"A": [set_scores("A", "x", {"mae": [0.1]})]}, columns, "raw", 3))
    caption = text[text.index(r"\caption") :]
    for name in ("MAE", r"$\mathrm{IoU}_{0.5}$", r"$\mathrm{Dice}^{mx}$", r"$E_\phi^{mx}$"):
        assert f"{name}: " in caption
