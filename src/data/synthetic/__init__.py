"""The built-in synthetic camouflage: scenes of random textures and shapes."""

from src.data.synthetic.scenes import SyntheticCamouflage, SyntheticDataModule

__all__ = ["SyntheticCamouflage", "SyntheticDataModule"]
