"""Export a network to ONNX: a file that segments pictures of any size with onnxruntime alone.

``trace`` writes the network as a graph, ``pictures`` puts resizing around it, ``storage`` compacts its weights and adds
metadata, ``verify`` compares the file with the network; ``job`` does all of it, as ``settings`` say.
"""
