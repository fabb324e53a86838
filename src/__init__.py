"""RUN, the Reversible Unfolding Network for concealed object segmentation."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else albumentations looks for updates online at import
