"""8-bit storage of features."""

import numpy as np

MIN_STEP = 1e-9


def quantize(values):
    """Quantize each column uniformly to 8 bits.

    Parameters
    ----------
    values : np.ndarray [shape=(n_rows, n_columns)]
        Values to quantize.

    Returns
    -------
    codes : np.ndarray [shape=(n_rows, n_columns)], uint8
        ``codes * step + low`` differs from `values` by at most ``step / 2``.
    step : np.ndarray [shape=(n_columns,)], float32
        Quantization step of each column.
    low : np.ndarray [shape=(n_columns,)], float32
        Minimum of each column.

    Examples
    --------
    >>> codes, step, low = quantize(np.array([[0.0, -1.0], [51.0, -1.0], [255.0, -1.0]]))
    >>> codes.tolist(), step.round(3).tolist(), low.tolist()
    ([[0, 0], [51, 0], [255, 0]], [1.0, 0.0], [0.0, -1.0])
    """
    low = values.min(axis=0)
    step = np.maximum((values.max(axis=0) - low) / 255, MIN_STEP).astype(np.float32)
    return np.rint((values - low) / step).astype(np.uint8), step, low.astype(np.float32)
