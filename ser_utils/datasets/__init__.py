"""Published emotional speech corpora and custom recordings as a table of clips."""

from ser_utils.datasets.core import (
    CLIP_COLUMNS,
    DATASETS,
    EMOTIONS,
    GENDER_EMOTIONS,
    GENDERS,
    SAMPLES,
    TARGETS,
    Dataset,
    DatasetError,
    DatasetWarning,
    data_home,
    load_clips,
)

__all__ = ["CLIP_COLUMNS", "DATASETS", "EMOTIONS", "GENDERS", "GENDER_EMOTIONS", "SAMPLES", "TARGETS", "Dataset",
           "DatasetError", "DatasetWarning", "data_home", "load_clips"]
