"""Prompts made from the true mask agree with it, with the certainty that they should have."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from src.data import prompts, simulated_prompts
from src.data.prompts import Click, PromptMaps

SIZE = (40, 60)


def disc(y: float = 20, x: float = 30, radius: float = 9, size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def rectangle(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_box_rules_out_what_is_outside_and_says_nothing_inside():
    mask = disc()
    made = simulated_prompts.box(mask, SIZE, 0.0, rng())
    inside = rectangle(11, 30, 21, 40)
    assert (made.certainty[inside] == 0).all()
    np.testing.assert_allclose(made.certainty[~inside], prompts.TRUST, rtol=1e-6)
    assert not made.target.any()


def test_box_between_pixels_has_soft_edges():
    made = simulated_prompts.box(rectangle(10, 20, 6, 30), (20, 15), 0.0, rng())  # columns 1.5 to 7.5 of 15
    np.testing.assert_allclose(made.certainty[7] / prompts.TRUST, [1, 0.5, 0, 0, 0, 0, 0, 0.5, *[1] * 7], atol=1e-6)


def test_jittered_sides_move_by_at_most_their_share_and_differ():
    mask, found = rectangle(10, 30, 20, 50), set()
    for seed in range(20):
        said = simulated_prompts.box(mask, SIZE, 0.1, np.random.default_rng(seed)).certainty
        inside = said < prompts.TRUST
        assert inside[12:28, 23:47].all()
        assert not inside[~rectangle(8, 32, 17, 53)].any()
        found.add(said.tobytes())
    assert len(found) == 20


def test_box_without_an_object_says_nothing():
    assert not simulated_prompts.box(np.zeros(SIZE, bool), SIZE, 0.1, rng()).certainty.any()


def test_next_click_mends_the_largest_wrong_region():
    mask, found = disc(20, 30, 9), disc(5, 52, 3)
    click = simulated_prompts.next_click(mask, found)
    assert click == Click(30.5 / 60, 20.5 / 40, True)
    click = simulated_prompts.next_click(mask, mask | found)
    assert click is not None
    assert (int(click.y * 40), int(click.x * 60), click.is_object) == (5, 52, False)
    assert simulated_prompts.next_click(mask, mask) is None


def test_next_click_takes_the_border_for_an_edge():
    click = simulated_prompts.next_click(rectangle(0, 11, 0, 11), np.zeros(SIZE, bool))
    assert click is not None
    assert (int(click.y * 40), int(click.x * 60)) == (5, 5)


def test_next_click_never_repeats_itself():
    mask, made = disc(), list[Click]()
    for _ in range(5):
        click = simulated_prompts.next_click(mask, np.zeros(SIZE, bool), made)
        assert click is not None
        made.append(click)
    assert len(set(made)) == 5


def test_a_person_clicks_near_the_centre():
    mask, places = disc(radius=10), set()
    for seed in range(30):
        click = simulated_prompts.next_click(mask, np.zeros(SIZE, bool), rng=np.random.default_rng(seed))
        assert click is not None
        assert np.hypot(click.y * 40 - 20.5, click.x * 60 - 30.5) <= 5.5
        places.add(click)
    assert len(places) > 20


def test_a_click_does_not_depend_on_where_a_mask_lies_in_memory():
    """Squared distances between pixels are whole numbers; OpenCV's own distances differ in their last bits."""
    rng = np.random.default_rng(0)
    region = cv2.GaussianBlur(rng.random((64, 64)), (0, 0), 3) > 0.5
    squares = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] ** 2
    for offset in range(32):
        placed = np.zeros(offset + region.size, bool)[offset:].reshape(region.shape)
        placed[:] = region
        assert np.array_equal(simulated_prompts._depth(placed), np.sqrt(np.rint(squares)))


def test_several_clicks_on_one_mask_mend_one_region_after_the_other():
    mask = disc(12, 15, 8) | disc(28, 45, 5)
    made = simulated_prompts.clicks(mask, disc(8, 50, 6), 5)
    places = [(int(click.y * 40), int(click.x * 60), click.is_object) for click in made]
    assert places[0] == (12, 15, True)
    assert {(28, 45, True), (8, 50, False)} <= set(places[:3])
    assert len(places) == 3  # discs: nothing is left to correct
    bar = simulated_prompts.clicks(rectangle(10, 20, 0, 60), np.zeros(SIZE, bool), 4)
    assert len({round(click.x * 60) // 10 for click in bar}) == 4
    assert simulated_prompts.clicks(mask, mask, 3) == []


def test_click_is_a_round_disc_in_the_picture():
    made = prompts.clicked([Click(0.5, 0.5, True)], (101, 101), picture=(101, 303))
    sigma = 0.02 * 303  # in the picture's pixels; a pixel of the map is 3 of them wide
    assert made.certainty[50, 50] == pytest.approx(prompts.TRUST)
    assert made.certainty[50, 54] == pytest.approx(prompts.TRUST * np.exp(-(12**2) / (2 * sigma**2)))
    assert made.certainty[54, 50] == pytest.approx(prompts.TRUST * np.exp(-(4**2) / (2 * sigma**2)))
    assert (made.target[made.certainty > 0] == 1).all()
    np.testing.assert_array_equal(made.clicked, made.certainty)


def test_the_surer_click_is_heard():
    made = prompts.clicked([Click(0.4, 0.5, True), Click(0.6, 0.5, False)], (60, 60))
    assert made.target[30, 24] == 1
    assert made.target[30, 36] == 0
    assert made.certainty[30, 24] == made.certainty[30, 35]  # pixels are symmetrical: 23.5 + 0.5 and 35.5 + 0.5
    assert not prompts.clicked([], SIZE).certainty.any()


def test_map_is_as_sure_as_it_is_decided():
    made = prompts.from_map(np.array([[0.0, 0.5, 0.75, 1.0]]), trust=0.8)
    np.testing.assert_allclose(made.target, [[0, 0.5, 0.75, 1]])
    np.testing.assert_allclose(made.certainty, [[0.8, 0, 0.4, 0.8]], rtol=1e-6)


def test_coarse_maps_are_ever_coarser():
    mask, errors = disc(80, 100, 30, (160, 200)), []
    truth = mask.reshape(80, 2, 100, 2).mean((1, 3))
    for level in simulated_prompts.COARSE:
        made = [simulated_prompts.coarse_map(mask, (80, 100), level, np.random.default_rng(seed)) for seed in range(8)]
        assert all(one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1 for one in made)
        errors.append(np.mean([np.abs(one - truth).mean() for one in made]))
    assert 0.005 < errors[0] < errors[1] < errors[2]
    assert not simulated_prompts.coarse_map(np.zeros(SIZE, bool), SIZE, 3, rng()).any()


def test_wrong_prompts_are_wrong_and_timid():
    mask, other = disc(20, 15, 8), disc(20, 45, 8)
    kinds = set()
    for seed in range(30):
        made = simulated_prompts.wrong(mask, other, SIZE, np.random.default_rng(seed))
        assert 0 < made.certainty.max() <= simulated_prompts.WRONG_TRUST
        sure = made.certainty > 0.5 * made.certainty.max()
        assert made.target[sure & disc(20, 15, 4)].mean() < 0.5  # the prompt calls the true object background
        kinds.add((bool(made.target.any()), bool(made.target[0, 30] > 0.5)))
    assert len(kinds) == 3


def test_a_click_is_heard_whatever_else_is_said():
    sure = np.array([[0.9, 0.5, 0.1, 0.0]], np.float32)
    box = PromptMaps.without_clicks(np.zeros((1, 4), np.float32), np.array([[0.9, 0.9, 0.9, 0.0]], np.float32))
    click = PromptMaps(np.ones((1, 4), np.float32), sure, sure)
    both = prompts.overlaid(box, click)
    np.testing.assert_array_equal(both.target, [[1, 1, 0, 0]])
    np.testing.assert_allclose(both.certainty, [[0.9, 0.5, 0.81, 0]], rtol=1e-6)
    np.testing.assert_allclose(both.clicked, [[0.9, 0.5, 0, 0]], rtol=1e-6)


def test_generators_depend_on_their_words_alone():
    first, again, other = (simulated_prompts.seeded(*words).random() for words in (("a", "b"), ("a", "b"), ("ab", "")))
    assert first == again != other
