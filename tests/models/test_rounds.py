"""Rounds: where the second round looks, what it sees, and that one round is the network itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.outputs import MaskOutput
from src.models.prompts import Prompt
from src.models.rounds import LARGEST, InRounds, object_box


class Brightness(nn.Module):
    """Return the logits 10·(red − 0.5); remember the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> MaskOutput:
        self.seen.append(image)
        return MaskOutput(10 * (image[:, :1] - 0.5))


@pytest.mark.parametrize(("first", "last"), [(0, 1), (63, 64), (31, 32), (0, 64), (10, 50), (40, 64)])
def test_a_box_holds_the_object_inside_the_image(first, last):
    mask = torch.zeros(64, 65, dtype=torch.bool)
    mask[first:last, first:last] = True
    rows, columns = object_box(mask)
    assert mask[rows, columns].sum() == mask.sum()
    assert 0 <= rows.start < rows.stop <= 64
    assert 0 <= columns.start < columns.stop <= 65
    assert rows.stop - rows.start >= 64 // LARGEST
    assert columns.stop - columns.start >= 65 // LARGEST


def test_nothing_found_is_not_looked_at_again():
    net, image = Brightness(), torch.zeros(2, 3, 64, 64)
    image[1, :, 16:48, 20:44] = 1
    output = InRounds(net, 2)(image)
    assert [len(seen) for seen in net.seen] == [2, 1]
    torch.testing.assert_close(output.mask_logits[0], net(image).mask_logits[0])


def test_the_second_look_sees_the_box_enlarged_and_counts_half():
    net, image = Brightness(), torch.zeros(1, 3, 64, 64)
    image[:, :, 20:44, 14:46] = 1
    rows, columns = object_box(image[0, 0] > 0.5)
    output = InRounds(net, 2)(image)
    torch.testing.assert_close(net.seen[1], F.interpolate(image[:, :, rows, columns], (64, 64), mode="bilinear"))
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[rows, columns] = True
    assert torch.equal(output.mask_logits[0, 0][~inside], torch.full((int((~inside).sum()),), -5.0))
    back = F.interpolate(
        10 * (net.seen[1][:, :1] - 0.5), (rows.stop - rows.start, columns.stop - columns.start), mode="bilinear"
    )
    torch.testing.assert_close(
        output.mask_logits[0, 0, rows, columns], (back[0, 0] + net(image).mask_logits[0, 0, rows, columns]) / 2
    )


def test_every_image_gets_its_own_second_look():
    net, image = Brightness(), torch.zeros(3, 3, 64, 64)
    image[0, :, 4:20, 30:50] = 1
    image[2, :, 40:60, 2:38] = 0.9
    together = InRounds(net, 2)(image).mask_logits
    alone = torch.cat([InRounds(net, 2)(row[None]).mask_logits for row in image])
    torch.testing.assert_close(together, alone)
    # Enlarging blurs edges.
    assert (together - net(image).mask_logits).flatten(1).abs().amax(1).gt(0.5).tolist() == [True, False, True]


def test_the_second_look_sees_the_prompt_cut_to_the_box():
    class Listener(Brightness):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[Prompt] = []

        def forward(self, image: Tensor, prompt: Prompt | None = None) -> MaskOutput:
            assert prompt is not None
            self.heard.append(prompt)
            return super().forward(image)

    net, image = Listener(), torch.zeros(2, 3, 64, 64)
    image[1, :, 20:44, 14:46] = 1
    prompt = Prompt(*torch.rand(3, 2, 1, 64, 64))
    rows, columns = object_box(image[1, 0] > 0.5)
    InRounds(net, 2)(image, prompt)
    assert net.heard[0] is prompt
    assert len(net.heard) == 2
    for heard, given in zip(net.heard[1][1:], prompt[1:], strict=True):
        cut = F.interpolate(given[1:, :, rows, columns], (64, 64), mode="bilinear")
        torch.testing.assert_close(heard, cut)
    assert net.heard[1].target.shape == (1, 1, 64, 64)


def test_two_rounds_keep_the_last_mask_alone(make_run):
    net, image = make_run(unfold_stride=4).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert isinstance(InRounds(net, 2)(image), MaskOutput)


def test_three_rounds_look_twice_again():
    net, image = Brightness(), torch.zeros(1, 3, 64, 64)
    image[:, :, 20:40, 20:40] = 1
    InRounds(net, 3)(image)
    assert len(net.seen) == 3
