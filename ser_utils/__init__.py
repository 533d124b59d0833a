"""Speech emotion from MFCCs, compared on speakers the models never heard.

The modules follow the data, each using only those before it: `corpora` and `audio`, `features`, `descriptors` and
`store`, `splits`, `augment`, `networks`, `sequence` and `models`, `compare`, `scores` and `publish`, `plots`, `report`.
`files` writes what is kept. Beside that line stands the voice that nobody labelled: `recorder`, `runtime`, `live`,
`distort`.
"""

__version__ = "0.1.0"


def predict(source, sr=None, own=None):
    """The emotion in a recording, or in samples at a rate, as a dict: see `ser_utils.live.predict`."""
    from ser_utils import live

    return live.predict(source, sr, own)
