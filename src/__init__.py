"""RUN, the Reversible Unfolding Network for concealed object segmentation."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network at import otherwise
