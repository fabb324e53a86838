"""The published data sets: how many images each should hold, what its archive calls its files, and where to ask for it.

`conf/data/` says which sets make a task, `layouts` where a set may be under the data root.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Split = Literal["train", "test"]

ANY = "(.*)"


@dataclass(frozen=True)
class SetSpec:
    """A published data set.

    Attributes:
        name: as in `data.train_sets` and `data.test_sets`.
        source: its publication, and where to ask for it.
        train: official number of training images; None: no such split, or no number that everybody agrees on.
        test: the same for test images.
        folders: other names of its folder in public archives.
        images: pattern of image stems. In this and the next two, group 1 is the name that the files of a sample share;
            files that don't match do not belong to the set.
        masks: pattern of mask stems.
        valid: pattern of field-of-view stems.
        image_splits: patterns for training and test in place of `images`, for archives that keep both splits in one
            folder.
        flat: pattern that picks the set's training images out of a `TrainDataset` that mixes sets.
        group: sample name → name of its group (frames of one video).
        known_leaks: (train, test) names of photographs that the official split has twice.
    """

    name: str
    source: str
    train: int | None = None
    test: int | None = None
    folders: tuple[str, ...] = ()
    images: str = ANY
    masks: str = ANY
    valid: str = ANY
    image_splits: tuple[str, str] | None = None
    flat: str | None = None
    group: Callable[[str], str] | None = None
    known_leaks: frozenset[tuple[str, str]] = frozenset()

    def expected(self, split: Split) -> int | None:
        """Return the published number of images of a split; None if there is none."""
        return self.train if split == "train" else self.test

    def image_pattern(self, split: Split) -> str:
        """Return the pattern that the names of a split's images match."""
        return self.images if self.image_splits is None else self.image_splits[split == "test"]


CLINIC_LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503,
    528, 546, 571, 591, 612,
)  # fmt: skip
"""The last frame of each of CVC-ClinicDB's 29 video sequences, as the data set's page tabulates them."""


def clinic_sequence(name: str) -> str:
    """Return the video sequence of a CVC-ClinicDB frame; a name that is not a frame number is a group of its own.

    >>> clinic_sequence("25"), clinic_sequence("26"), clinic_sequence("612")
    ('CVC-ClinicDB sequence 1', 'CVC-ClinicDB sequence 2', 'CVC-ClinicDB sequence 29')
    """
    if not name.isdecimal() or not 1 <= int(name) <= CLINIC_LAST_FRAMES[-1]:
        return name
    return f"CVC-ClinicDB sequence {bisect_left(CLINIC_LAST_FRAMES, int(name)) + 1}"


COD10K_CAMOUFLAGED = "((?!COD10K-NonCAM-).*)"  # COD10K-v3 mixes in images without a camouflaged object

SETS = {
    spec.name: spec
    for spec in (
        SetSpec(
            "CAMO",
            "CAMO-V1.0, Le et al., 'Anabranch Network for Camouflaged Object Segmentation', CVIU 2019; "
            "on the authors' project page",
            train=1000,
            test=250,
            folders=("CAMO-V.1.0-CVIU2019", "CAMO-V1.0"),
            flat="(camourflage_.*)",
            known_leaks=frozenset({("camourflage_00419", "camourflage_00120")}),
        ),
        SetSpec(
            "COD10K",
            "COD10K-v3, Fan et al., 'Camouflaged Object Detection', CVPR 2020; on the page of the authors' SINet code",
            train=3040,
            test=2026,
            folders=("COD10K-v3", "COD10K-v2"),
            images=COD10K_CAMOUFLAGED,
            masks=COD10K_CAMOUFLAGED,
            flat="(COD10K-(?!NonCAM-).*)",
        ),
        SetSpec(
            "CHAMELEON",
            "CHAMELEON, Skurowski et al., unpublished manuscript 2018; with the test sets of the authors of SINet",
            test=76,
            folders=("CHAMELEON_TestingDataset",),
        ),
        SetSpec(
            "NC4K",
            "NC4K, Lv et al., 'Simultaneously Localize, Segment and Rank the Camouflaged Objects', CVPR 2021; "
            "on the page of its code",
            test=4121,
        ),
        SetSpec(
            "Kvasir",
            "the polyp archive of PraNet, Fan et al., MICCAI 2020 (900 + 100 images of Kvasir-SEG); "
            "on the page of its code",
            train=900,
            test=100,
            flat="(cju[0-9a-z]+)",
        ),
        SetSpec(
            "Kvasir-SEG",
            "Kvasir-SEG, Jha et al., 'Kvasir-SEG: A Segmented Polyp Dataset', MMM 2020; "
            "on the data set's page at Simula",
            train=1000,
        ),
        SetSpec(
            "CVC-ClinicDB",
            "CVC-ClinicDB, Bernal et al., 'WM-DOVA maps', CMIG 2015; "
            "on the polyp challenge's page, 550 + 62 images in PraNet's archive",
            train=550,
            test=62,
            flat=r"(\d+)",
            group=clinic_sequence,
        ),
        SetSpec(
            "CVC-612",
            "the whole of CVC-ClinicDB, Bernal et al., 'WM-DOVA maps', CMIG 2015; on the page of the polyp challenge",
            train=612,
            folders=("CVC-ClinicDB",),
            group=clinic_sequence,
        ),
        SetSpec("CVC-ColonDB", "CVC-ColonDB, Tajbakhsh et al., IEEE TMI 2016; in PraNet's polyp archive", test=380),
        SetSpec(
            "ETIS",
            "ETIS-LaribPolypDB, Silva et al., IJCARS 2014; in PraNet's polyp archive",
            test=196,
            folders=("ETIS-LaribPolypDB", "ETIS-Larib"),
        ),
        SetSpec("CVC-300", "the test part of EndoScene, Vázquez et al., JHE 2017; in PraNet's polyp archive", test=60),
        SetSpec(
            "DRIVE",
            "DRIVE, Staal et al., 'Ridge-based vessel segmentation in color images of the retina', IEEE TMI 2004; "
            "on the challenge's page",
            train=20,
            test=20,
            images=r"(\d+)(?:_training|_test)?",
            masks=r"(\d+)(?:_manual1)?",
            valid=r"(\d+)(?:_(?:training|test)_mask)?",
        ),
        SetSpec(
            "CHASE_DB1",
            "CHASE_DB1, Fraz et al., IEEE TBME 2012; "
            "on the page of Kingston University's retinal research (first 20 images train)",
            train=20,
            test=8,
            folders=("CHASEDB1", "CHASE"),
            image_splits=(r"(Image_(?:0\d|10)[LR])", r"(Image_1[1-4][LR])"),
            masks=r"(Image_\d+[LR])(?:_1stHO)?",
        ),
        SetSpec(
            "STARE",
            "STARE, Hoover et al., IEEE TMI 2000; on the project's page (20 images, no split: use data.folds)",
            train=20,
            masks=r"(im\d+)(?:\.ah)?",
        ),
        SetSpec(
            "CORN",
            "CORN (CORN-1), corneal confocal microscopy; "
            "on request from the authors of CS²-Net (Mou et al., MedIA 2021)",
        ),
        SetSpec(
            "GDD",
            "GDD, Mei et al., 'Don't Hit Me! Glass Detection in Real-world Scenes', CVPR 2020; "
            "on request from the authors",
            train=2980,
            test=936,
        ),
        SetSpec(
            "GSD",
            "GSD, Lin et al., 'Rich Context Aggregation with Reflection Prior for Glass Surface Detection', CVPR 2021; "
            "on its page",
            train=3202,
            test=810,
        ),
        SetSpec(
            "CDS2K",
            "CDS2K, Fan et al., 'Advances in Deep Concealed Scene Understanding', 2023; "
            "on the page of the survey's collection",
        ),
    )
}


_BY_LOWER_NAME = {name.lower(): spec for name, spec in SETS.items()}


def spec_of(name: str) -> SetSpec:
    """Return what is known of a set; a user's own set has no official numbers and takes every file."""
    return _BY_LOWER_NAME.get(name.lower()) or SetSpec(name, "your own")


def is_published(name: str) -> bool:
    """Return whether this is one of the published sets, in any letter case.

    An unknown name without a folder is treated as a typo.
    """
    return name.lower() in _BY_LOWER_NAME


def group_of(set_name: str, name: str, pattern: str | None = None) -> str:
    r"""Return the group of a sample, which must stay on one side of a split; its own name if it has none.

    Args:
        set_name: the set of the sample.
        name: the sample's file name without its extension.
        pattern: `data.groups`; where it matches the name's beginning its group 1 counts, else the set's own rule.

    >>> group_of("MINE", "video3_0012", r"(video\d+)_"), group_of("MINE", "still7", r"(video\d+)_")
    ('video3', 'still7')
    """
    match = re.match(pattern, name) if pattern else None
    if match and match.group(1) is not None:
        return match.group(1)
    rule = spec_of(set_name).group
    return name if rule is None else rule(name)


def count_note(name: str, split: Split, found: int) -> str | None:
    """Return a note if a set does not have its published number of images; None if it has, or if there is none.

    Every place that shows the set's numbers shows the note, e.g. "CAMO-Test, 248 of 250 images".
    """
    expected = spec_of(name).expected(split)
    if expected is None or expected == found:
        return None
    surplus = f" ({found - expected} more than published)" if found > expected else ""
    return f"{name}-{split.capitalize()}, {found} of {expected} images{surplus}"


def nearest(word: str, words: list[str]) -> list[str]:
    """Return up to three of `words` that `word` may have been meant to be, whatever the letter case."""
    lower = {other.lower(): other for other in words}
    inside = [key for key in lower if word.lower() in key or key in word.lower()]
    return [lower[key] for key in dict.fromkeys([*get_close_matches(word.lower(), lower, 3, 0.75), *inside])][:3]
