"""Which images moved between two halves of a training."""

from __future__ import annotations

from src.data.split_record import changed_images


def record(**parts: str) -> dict[str, str]:
    return {
        part: "\n".join(f"{word.partition(':')[2] or 7}\t{word.partition(':')[0]}" for word in text.split())
        for part, text in parts.items()
    }


def compared(before: dict[str, str], now: dict[str, str]) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    return changed_images(before, now, notes), notes


BEFORE = record(train="a b c d", val="e f")


def test_the_same_images_and_an_older_checkpoint_say_nothing():
    assert compared(BEFORE, BEFORE) == ([], [])
    assert changed_images(None, BEFORE, []) == []


def test_images_that_change_sides_are_named():
    problems, notes = compared(BEFORE, record(train="a b c e", val="d f"))
    assert not notes
    assert ["would validate" in line and " d;" in line for line in problems] == [True, False]
    assert ["would train" in line and " e;" in line for line in problems] == [False, True]


def test_images_that_are_new_gone_or_altered_are_told():
    problems, notes = compared(BEFORE, record(train="a b c:8 n", val="e f"))
    assert not problems
    assert [line.partition(" since")[0].removeprefix("training images that are ") for line in notes] == [
        "new",
        "gone",
        "with other bytes",
    ]
    assert [line.rpartition(": ")[2] for line in notes] == ["n", "d", "c"]


def test_other_images_are_other_data_even_under_the_same_names():
    assert (
        "other training images (x) than the checkpoint's (a, b, c, d, e and 1 more)"
        in compared(BEFORE, record(train="x", val=""))[0][0]
    )
    assert "other training images" in compared(BEFORE, record(train="a:1 b:2 c:3 d:4", val="e f"))[0][0]
