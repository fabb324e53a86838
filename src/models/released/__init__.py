"""The mask path of the authors' released RUN network: what their checkpoints compute on the way to the mask.

One file per module of theirs; attributes inside a module have the names of the authors' files, so that a state dict can
be compared tensor by tensor. What feeds no mask there (SOFS, ROBE, wavelet branches, edge maps) is left out; it has no
effect on what is computed here.
"""
