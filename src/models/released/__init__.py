"""The mask path of the authors' released RUN network: the computation from the image to the mask in their checkpoints.

One file per module of theirs. Attributes have the names of the authors' files, so that a state dict can be compared
tensor by tensor. Modules that no mask depends on in their code (SOFS, ROBE, wavelet branches, edge maps) are left out.
"""
