"""Speech emotion from MFCCs, compared on speakers the models never heard.

The modules follow the data, each using only those before it: `corpora` and `audio`, `features`, `descriptors` and
`store`, `splits`, `augment`, `networks`, `sequence` and `models`, `compare`, `scores` and `publish`, `plots`, `report`.
`files` writes what is kept. Beside that line stands the voice that nobody labelled: `recorder`, `runtime`, `live`,
`distort`.
"""

__version__ = "0.1.0"


def predict(source, sr=None, own=None):
    """The emotion in a recording, or in samples at a rate, as a dict: see `ser_utils.live.predict`.

    >>> from ser_utils import corpora
    >>> answer = predict(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    >>> answer["emotion"], answer["class"]
    ('angry', 'male_angry')
    """
    from ser_utils import live

    return live.predict(source, sr, own)
