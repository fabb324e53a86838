"""Export a network to ONNX: a file that segments pictures of any size with onnxruntime alone.

``trace`` writes the network as a graph, ``pictures`` puts resizing around it, ``storage`` sees to what the file holds
besides, ``verify`` compares the file with the network; ``job`` does all of it, as ``settings`` say.
"""
