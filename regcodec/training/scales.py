"""The scales that a table of y stands for: 128 from 0.11, CompressAI's lower bound, to 128 in equal ratios."""

from __future__ import annotations

import numpy as np

SCALES = np.geomspace(0.11, 128.0, 128)
