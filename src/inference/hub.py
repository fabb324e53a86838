"""A network as a folder for a model hub, and back.

This is the one module that imports huggingface_hub, and it is imported only when it is needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download

from src.checkpoints.atomic_io import writable
from src.checkpoints.network import PREFIX
from src.checkpoints.weights_file import export_bytes, kept_config, licence_note
from src.inference.model_card import Metrics, card_text
from src.inference.network import Network
from src.inference.torch_network import TorchNetwork
from src.models.wrappers import network_name
from src.utils.errors import Problems, UserError

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
LIBRARY = "reversible-unfolding-network"


class HubFolder(ModelHubMixin):
    """What `ModelHubMixin` saves and uploads: weights with their configuration, a readable copy of it, a model card.

    Args:
        network: a network run by torch.
        name: of the repository or the folder.
        metrics: for the card, see `card_text`.

    Raises:
        UserError: an exported network, which holds no weights to train from; or invalid metrics.
    """

    def __init__(self, network: Network, name: str, metrics: Metrics | Path | None = None) -> None:
        if not isinstance(network, TorchNetwork):
            raise UserError(
                "an exported network (.onnx) is shared as it is, without save_pretrained; "
                "save the checkpoint that it was made of"
            )
        state = {f"{PREFIX}{key}": value.detach().cpu() for key, value in network.net.state_dict().items()}
        note = network.note or licence_note(network.config)
        checkpoint = {"state_dict": state, "config": network.config, "note": note}
        checkpoint |= {} if network.selection is None else {"selection": network.selection}
        self.weights = export_bytes(checkpoint, Path(name), exact=True)
        self.config = kept_config(network.config)
        self.text = card_text(network.config, note, network_name(network.net), name, metrics)

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / WEIGHTS).write_bytes(self.weights)
        (save_directory / CONFIG).write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """Return the card: its metadata for the Hub's search, then its text."""
        data = ModelCardData(
            library_name=LIBRARY,
            pipeline_tag="image-segmentation",
            tags=["camouflaged-object-detection", "concealed-object-segmentation", "model_hub_mixin"],
            license="other",
            license_name="terms-of-the-training-data",
        )
        return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{self.text}")


def save_folder(network: Network, folder: Path, metrics: Metrics | Path | None, overwrite: bool) -> None:
    """Write ``model.safetensors``, ``config.json`` and ``README.md``; problems are reported before anything is written.

    Raises:
        UserError: as `HubFolder`; files that exist, unless they may be overwritten; a folder that cannot be written.
    """
    problems = Problems()
    with problems.catch():
        content = HubFolder(network, folder.absolute().name, metrics)
    there = [name for name in (WEIGHTS, CONFIG, CARD) if (folder / name).exists()]
    if there and not overwrite:
        problems.append(f"{folder} already holds {', '.join(there)}; choose another folder, or overwrite=True")
    problems.raise_all()
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)  # the mixin keeps a card that it finds
        content.save_pretrained(folder)


def download(repo_id: str, **options: Any) -> Path:
    """Return the weights of a repository in the Hub's cache; they are downloaded if they are missing.

    Args:
        repo_id: ``owner/name``.
        options: ``revision``, ``cache_dir``, ``token``, ``force_download`` and ``local_files_only`` of
            `hf_hub_download`.

    Raises:
        UserError: no such repository, no weights in it, no network.
    """
    try:
        return Path(hf_hub_download(repo_id, WEIGHTS, **options))
    except Exception as error:  # the Hub's client raises a dozen kinds of errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise UserError(
            f"ckpt_path: there is no file or folder {repo_id}, and the Hub could not provide {WEIGHTS} of it "
            f"({type(error).__name__}: {reason[:160]}); without a network name a folder that save_pretrained wrote"
        ) from error
