"""The network of a checkpoint or of exported weights, run by torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.data.pillow_resize import resize_bilinear
from src.data.prompts import PromptMaps
from src.inference.enlarge import enlarged_levels
from src.inference.network import Options
from src.models.outputs import masks_at_size
from src.models.prompts import Prompt
from src.models.wrappers import memory_format, unwrapped
from src.utils.errors import UserError
from src.utils.process import available_cores


class Logits:
    """The logits of one picture's mask at the network's resolution, float32 (S, S)."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def levels(self, height: int, width: int) -> np.ndarray:
        """Return the mask as uint8 (height, width), at most one level from rounded :meth:`probabilities`."""
        return enlarged_levels(self.values, height, width)

    def probabilities(self, height: int, width: int) -> np.ndarray:
        """Return σ of the bilinearly enlarged logits, float32 (height, width).

        This is what training validates and `src.eval` scores.
        """
        target = torch.empty((height, width), device="meta")
        return masks_at_size(torch.from_numpy(self.values)[None, None], [target])[0].numpy()


class TorchNetwork:
    """A segmentation network in evaluation mode behind the interface `Network`.

    Args:
        net: ``net(image)`` returns an object with ``mask_logits``; it is moved to the device. Rounds, closing step and
            sharpness are its own (:func:`src.checkpoints.network.make_network`).
        config: the resolved configuration of its training.
        note: the licence note of its file.
        selection: what its weights were selected on; None: the file does not say.
        options: how to run it.

    Attributes:
        net: the network itself, channels last and without wrappers, for access to its stages.
        device: where it is.

    Raises:
        UserError: options that this network or this machine does not have.
    """

    def __init__(
        self,
        net: nn.Module,
        config: Mapping[str, Any],
        note: str = "",
        options: Options | None = None,
        selection: str | None = None,
    ) -> None:
        options = options or Options()
        options.check()
        self.config, self.note, self.selection, self._options = config, note, selection, options
        self.device = chosen_device(options.device)
        self.batched = self.device.type != "cpu"
        self.image_size = int(options.image_size or config["data"]["image_size"])
        self.net = unwrapped(net)
        self.takes_prompts = bool(getattr(self.net, "takes_prompts", False))
        self._wrapped = net.eval().to(self.device).to(memory_format=memory_format(self.net))
        self._one_at_a_time: AbstractContextManager[Any] = threading.Lock() if self.batched else nullcontext()

    def shrink(self, picture: np.ndarray) -> np.ndarray:
        """Return uint8 (h, w, 3) as (S, S, 3), by Pillow's antialiased bilinear filter, as in training."""
        return resize_bilinear(picture, self.image_size, self.image_size)

    def to_input(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """Return N pictures of the network's size as float32 (N, 3, S, S) in [0, 1], channels last, on its device."""
        return torch.from_numpy(np.stack(inputs)).to(self.device).permute(0, 3, 1, 2).float() / 255

    @torch.inference_mode()
    def probabilities(self, image: Tensor, prompt: Prompt | None = None) -> Tensor:
        """Return the masks of :meth:`to_input`'s pictures at the network's size, float32 (N, 1, S, S) in [0, 1]."""
        said = {} if prompt is None else {"prompt": prompt}
        probabilities: Tensor = self._wrapped(image, **said).mask_logits.sigmoid()
        return probabilities

    @torch.inference_mode()
    def run(self, inputs: Sequence[np.ndarray], prompts: Sequence[PromptMaps | None] = ()) -> list[Logits]:
        """Segment N pictures of the network's size in one call, with their prompts, if the network takes prompts."""
        said = {"prompt": self._to_prompt(prompts)} if any(prompts) else {}
        with self._one_at_a_time, self._precision():
            logits = self._wrapped(self.to_input(inputs), **said).mask_logits
        return [Logits(row) for row in logits[:, 0].float().cpu().numpy()]

    def _to_prompt(self, prompts: Sequence[PromptMaps | None]) -> Prompt:
        """Return N prompts as one, on the device; None says nothing."""
        nothing = np.zeros((self.image_size, self.image_size), np.float32)
        each = [prompt or PromptMaps(nothing, nothing, nothing) for prompt in prompts]
        return Prompt(*(torch.from_numpy(np.stack(maps)[:, None]).to(self.device) for maps in zip(*each, strict=True)))

    def shared_by(self, workers: int) -> AbstractContextManager[None]:
        """Divide the cores among threads that all run the network; torch's own threads would compete for them."""
        return _torch_threads(max(1, available_cores() // workers))

    def _precision(self) -> AbstractContextManager[Any]:
        if not self._options.half:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.device.type == "cpu" else torch.float16)


def chosen_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means.

    Raises:
        UserError: another name, or a CUDA device that does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= count:
        raise UserError(
            f"device={name}: there {'is no CUDA device' if not count else f'are {count} CUDA devices'} here"
        )
    return torch.device(name)


class _Shared:
    """How many contexts change torch's number of threads, and what it was before the first of them."""

    lock = threading.Lock()
    users = 0
    before = 0


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Let every thread's torch operations use ``count`` threads.

    Contexts may overlap; the last one to end restores the number.
    """
    with _Shared.lock:
        if not _Shared.users:
            _Shared.before = torch.get_num_threads()
            torch.set_num_threads(count)
        _Shared.users += 1
    try:
        yield
    finally:
        with _Shared.lock:
            _Shared.users -= 1
            if not _Shared.users:
                torch.set_num_threads(_Shared.before)
