"""Who may be learned from, who decides, who is tested: folds in which nobody sits on two sides."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_utils.corpora import EMOTIONS

# Test actors of Luna-Jimenez et al. 2021 (doi:10.3390/s21227665); validation actors of arXiv:2606.03359, which uses
# the same folds
RAVDESS_TEST = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
RAVDESS_VALIDATION = ((3, 6), (10, 11), (8, 17), (1, 14), (2, 5))

# The original project's ten codes: gender by emotion, in its order; three of the eight emotions have none
TEN = tuple(f"{gender}_{emotion}" for gender in ("female", "male")
            for emotion in ("angry", "calm", "fearful", "happy", "sad"))
CLASSES = {"emotion": EMOTIONS, "gender_emotion": TEN}


@dataclass(frozen=True)
class Split:
    """Row numbers of one fold, none of them in two parts."""

    fold: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def label(clips, labels="emotion"):
    """Each clip's class name, `None` where the scheme has no class for it.

    `emotion` has 8 classes; `gender_emotion` the ten codes 0-9, which cover the 960 of RAVDESS's 1,440 clips that are
    angry, calm, fearful, happy or sad.

    Returns
    -------
    np.ndarray [shape=(clips,)] of str or None
    """
    if labels not in CLASSES:
        raise ValueError(f"labels={labels!r} is unknown; choose one of {', '.join(CLASSES)}")
    names = clips["emotion"] if labels == "emotion" else clips["gender"] + "_" + clips["emotion"]
    return names.where(names.isin(CLASSES[labels]), None).to_numpy(dtype=object)


def _speaker_folds(clips):
    """Test and validation speakers by fold: RAVDESS's published ones, or five alike for any other set of speakers."""
    speakers = sorted(clips["speaker"].unique())
    if speakers == [f"{actor:02d}" for actor in range(1, 25)]:
        return [tuple([f"{actor:02d}" for actor in side] for side in sides)
                for sides in zip(RAVDESS_TEST, RAVDESS_VALIDATION, strict=True)]
    if len(speakers) < 3:
        raise ValueError(f"{len(speakers)} speakers ({', '.join(speakers)}) cannot be training, validation and test "
                         "at once; bring at least three")
    # dealt in turn within each gender, so that every fold hears both
    dealt = clips.drop_duplicates("speaker").sort_values(["gender", "speaker"])["speaker"].tolist()
    count = min(5, len(speakers))
    tests = [dealt[fold::count] for fold in range(count)]
    return [(tests[fold], tests[(fold + 1) % count][:2]) for fold in range(count)]


def speaker_independent(clips, labels="emotion", seed=0):
    """Five folds; test and validation speakers are never trained on. The same for every seed.

    Returns
    -------
    list of Split
    """
    usable = pd.notna(label(clips, labels))
    splits = []
    for fold, (test, validation) in enumerate(_speaker_folds(clips)):
        tested, validated = clips["speaker"].isin(test) & usable, clips["speaker"].isin(validation) & usable
        splits.append(Split(fold, *(np.flatnonzero(part) for part in
                                    (usable & ~tested & ~validated, validated, tested))))
    return splits


def random_split(clips, labels="emotion", seed=0):
    """The original project's way: files drawn at random, 64/16/20 %, stratified by class. Speakers sit on all sides.

    Returns
    -------
    list of Split
        One.
    """
    from sklearn.model_selection import train_test_split

    names = label(clips, labels)
    rows = np.flatnonzero(pd.notna(names))
    rest, test = train_test_split(rows, test_size=0.2, stratify=names[rows], random_state=seed)
    train, validation = train_test_split(rest, test_size=0.2, stratify=names[rest], random_state=seed)
    return [Split(0, np.sort(train), np.sort(validation), np.sort(test))]


PROTOCOLS = {"speaker-independent": speaker_independent, "random-split": random_split}
