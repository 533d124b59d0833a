"""Speech emotion recognition, compared honestly: recordings, features, folds, models, predictions, scores, figures.

The modules follow the data, each using only those before it: `corpora` and `audio`, `features` and `descriptors`,
`store`, `splits`, `augment`, `networks`, `sequence` and `models`, `compare`, `scores` and `publish`, `plots`, `report`.
"""

__version__ = "0.1.0"
