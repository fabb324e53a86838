"""From pictures to masks: ``Predictor("best.ckpt")("photo.jpg").save("mask.png")``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from PIL import Image

from src.data.prompts import TRUST, PromptMaps
from src.data.readers import COMMON, EXTENSIONS
from src.inference.model_card import Metrics
from src.inference.network import Options
from src.inference.opening import network_file, open_network
from src.inference.pictures import AnyPicture, Picture, read_picture
from src.inference.prompts import NOTHING, AnyMask, Said, trust_problems
from src.inference.results import Result
from src.inference.workers import default_workers, in_chunks, in_order
from src.utils.errors import Problems, UserError

A = TypeVar("A")
B = TypeVar("B")


class Prepared(NamedTuple):
    """A picture whose mask is still to be made; ``seconds`` is the time of its decoding."""

    picture: Picture
    network_input: np.ndarray
    seconds: float
    prompt: PromptMaps | None = None


class Predictor:
    """A trained network that segments pictures; it is loaded once and may be used by several threads.

    Args:
        source: a checkpoint (``.ckpt``), exported weights (``.safetensors``), an exported network (``.onnx``, run
            without torch), a folder with one of them, such as a run folder, or a repository of the Hugging Face Hub
            (``owner/name``).
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        half: compute in half precision.
        rounds: 2 segments, enlarges what was found and segments again, in twice the time.
        closing_step: False evaluates RUN at M_K instead of M̂_{K+1}.
        sharpness: what the final logits are multiplied by.
        image_size: side of the network's input; None is as trained.
        flip: average the logits with those of the mirror image, in twice the time.
        batch_size: pictures per call of the network on a GPU. On a CPU every thread takes one picture, which is as fast
            and takes less memory.
        options: ``device`` to ``flip`` in one object, in place of them.

    Attributes:
        network: what runs, see `src.inference.network.Network`; its ``config`` is that of the training, its ``note``
            the licence.

    Raises:
        UserError: no such file, one that this project did not write, or invalid options.
    """

    def __init__(
        self,
        source: str | PathLike[str],
        *,
        device: str = "auto",
        half: bool = False,
        rounds: int = 1,
        closing_step: bool | None = None,
        sharpness: float = 1.0,
        image_size: int | None = None,
        flip: bool = False,
        batch_size: int = 8,
        options: Options | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: expected at least 1")
        self.network = open_network(
            source, options or Options(device, half, rounds, closing_step, sharpness, image_size, flip)
        )
        self.batch_size = batch_size if self.network.batched else 1

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Predictor:
        """Open what :meth:`save_pretrained` or :meth:`push_to_hub` wrote; a folder needs no network.

        Args:
            source: a folder, or a repository of the Hugging Face Hub (``owner/name``).
            revision: branch, tag or commit of the repository.
            cache_dir: where downloads are kept; None: where huggingface_hub keeps them.
            token: for private repositories; None: the one that was logged in with.
            local_files_only: take the repository from the cache alone.
            options: as of `Predictor`.

        Raises:
            UserError: as `Predictor`; weights that are missing or do not fit.
        """
        hub = {"revision": revision, "cache_dir": cache_dir, "token": token, "local_files_only": local_files_only}
        return cls(network_file(source, **hub), **options)

    def save_pretrained(
        self, folder: str | PathLike[str], metrics: Metrics | str | PathLike[str] | None = None, overwrite: bool = False
    ) -> None:
        """Write the network as a folder to share: ``model.safetensors``, ``config.json`` and a card, ``README.md``.

        Weights are stored in half precision where that loses nothing, else in single precision: what is read back has
        the same bits.

        Args:
            folder: made if it does not exist.
            metrics: for the card, ``{test set: {measure: value}}`` or the ``metrics.csv`` of a training or an
                evaluation.
            overwrite: replace those three files.

        Raises:
            UserError: an ``.onnx`` network, invalid metrics, files that exist, a folder that cannot be written.
        """
        from src.inference.hub import save_folder

        save_folder(self.network, Path(folder), _given(metrics), overwrite)

    def push_to_hub(self, repo_id: str, metrics: Metrics | str | PathLike[str] | None = None, **options: Any) -> str:
        """Upload what :meth:`save_pretrained` writes to a repository of the Hugging Face Hub.

        Args:
            repo_id: ``owner/name``; the repository is made if it does not exist.
            metrics: as of :meth:`save_pretrained`.
            options: ``private``, ``token``, ``branch``, ``create_pr``, ``commit_message`` of
                `huggingface_hub.ModelHubMixin.push_to_hub`.

        Returns:
            The address of the commit.
        """
        from src.inference.hub import HubFolder

        return str(HubFolder(self.network, repo_id, _given(metrics)).push_to_hub(repo_id, **options))

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        pictures: Image.Image | np.ndarray | bytes,
        *,
        box: Sequence[float] | None = None,
        clicks: Sequence[Sequence[float]] = (),
        mask: AnyMask | None = None,
        trust: float = TRUST,
    ) -> Result: ...
    @overload
    def __call__(self, pictures: str | PathLike[str], **said: Any) -> Any: ...
    @overload
    def __call__(self, pictures: Iterable[AnyPicture]) -> list[Result]: ...

    def __call__(self, pictures: Any, **said: Any) -> Any:
        """Segment one picture, a list of them, or all pictures of a folder.

        Args:
            pictures: a path, the bytes of a file, a Pillow image (turned as its EXIF tag says), an RGB array uint8 (H,
                W, 3), or a list of these; a folder's pictures are taken in order of name, without its subfolders.
            said: of one picture: ``box``, ``clicks``, ``mask`` and ``trust``, see `src.inference.prompts.Said`.

        Returns:
            A :class:`Result` for one picture, a list of them for a list or a folder. :meth:`stream` does not keep them
            all in memory.

        Raises:
            UserError: something is not a picture, a folder holds none; a prompt is invalid, is given for several
                pictures, or to a network that takes none.
        """
        if isinstance(pictures, (str, PathLike)) and Path(pictures).is_dir():
            pictures = _pictures_of(Path(pictures))
        if isinstance(pictures, (str, PathLike, bytes, Image.Image, np.ndarray)):
            return self.run([self.prepare(pictures, said=Said(**said))])[0]
        if said:
            raise UserError(f"{', '.join(said)}: belongs to one picture; call the predictor with each of them")
        return list(self.stream(pictures))

    def stream(self, pictures: Iterable[AnyPicture], workers: int | None = None) -> Iterator[Result]:
        """Segment any number of pictures, in order, in constant memory: decoding and the network overlap.

        Args:
            pictures: as for a call; may be endless. They are taken only when needed.
            workers: threads; None is one per core, up to 8.

        Yields:
            One :class:`Result` for each picture.
        """
        for results in self.map(self.segment, in_chunks(pictures, self.batch_size), workers):
            yield from results

    def map(self, function: Callable[[A], B], items: Iterable[A], workers: int | None = None) -> Iterator[B]:
        """Yield ``function(item)`` in order, computed by threads that share the cores.

        The function may call :meth:`segment`. Its other work (decoding before, encoding after) then overlaps with the
        network's work for other items.

        Args:
            function: called by several threads at once.
            items: what it is called with.
            workers: threads; None is one per core, up to 8.
        """
        workers = workers or default_workers()
        with self.network.shared_by(workers):
            yield from in_order(function, items, workers)

    def segment(self, pictures: Iterable[AnyPicture | Picture]) -> list[Result]:
        """Segment one or more pictures in the calling thread, in one call of the network."""
        return self.run([self.prepare(picture) for picture in pictures])

    def prepare(self, picture: AnyPicture | Picture, keep_image: bool = True, said: Said = NOTHING) -> Prepared:
        """Decode a picture and make the network's input of it: the first half of :meth:`segment`.

        Args:
            picture: as for a call, or a decoded one.
            keep_image: False frees a photograph as soon as the input is made, if only the mask is wanted; the result's
                image is then black.
            said: the prompt.
        """
        start = time.perf_counter()
        Problems(trust_problems(said.trust) if said.is_empty else []).raise_all()
        decoded = picture if isinstance(picture, Picture) else read_picture(picture)
        prompt = None
        if not said.is_empty:
            self.check_prompts()
            prompt = said.maps(decoded.image.shape[0], decoded.image.shape[1], self.network.image_size)
        network_input = self.network.shrink(decoded.image)
        return Prepared(decoded if keep_image else decoded.blank(), network_input, time.perf_counter() - start, prompt)

    def check_prompts(self) -> None:
        """Raise a UserError if the network takes no prompts."""
        if not self.network.takes_prompts:
            raise UserError(
                "this network takes no box, clicks or mask: only a RUN does, with its closing step or trained with "
                "model.net.prompts; an .onnx file also must be exported with prompts=true"
            )

    def run(self, prepared: Sequence[Prepared]) -> list[Result]:
        """Segment what :meth:`prepare` returned, in one call of the network: the second half of :meth:`segment`."""
        start = time.perf_counter()
        masks = self.network.run([one.network_input for one in prepared], [one.prompt for one in prepared])
        share = (time.perf_counter() - start) / len(prepared)
        return [Result(one.picture, mask, one.seconds + share) for one, mask in zip(prepared, masks, strict=True)]


def _given(metrics: Metrics | str | PathLike[str] | None) -> Metrics | Path | None:
    return metrics if metrics is None or isinstance(metrics, Mapping) else Path(metrics)


def _pictures_of(folder: Path) -> list[Path]:
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
    )
    if not found:
        raise UserError(f"{folder} holds no picture (looked for {COMMON}; not in subfolders)")
    return found
