"""Cross-validation splits: which clips train, validate and test a model.

A split function takes a clips table, a target and a seed, and returns a list of `Split`, one per fold. `SPLITS` lists
them by name. Except in `random_split` and in two of the `size_matched` splits, no test speaker occurs in training.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from ser_utils.datasets.core import DATASETS, EMOTIONS, GENDER_EMOTIONS, GENDERS, TARGETS

# Test actors of Luna-Jimenez et al. 2021 (doi:10.3390/s21227665); validation actors of arXiv:2606.03359, which uses
# the same folds
RAVDESS_TEST_ACTORS = (2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22)
RAVDESS_VALIDATION_ACTORS = (3, 6), (10, 11), (8, 17), (1, 14), (2, 5)
TRAIN_SPEAKERS = 5, 10, 20, 50, 100, 180  # of the learning curve over several corpora
HELD_OUT_CORPORA = "casia", "emodb", "emovo", "savee"  # unseen corpora of the learning curve
# size_matched: what training and test set do not share, and the columns that are compared
DISJOINT = {"clips": (), "repetitions": ("intensity", "statement"), "speakers": (),
            "speakers+statements": ("statement",)}
SEVERAL_FOLDERS = "load_features([folder, folder]) (--features DIR DIR)"  # end of error messages
CLASS_ORDER = (*EMOTIONS, *GENDER_EMOTIONS, *GENDERS)


@dataclass(frozen=True)
class Split:
    """Rows of the training, validation and test set of one fold, which are disjoint.

    Parameters
    ----------
    fold : int
        Number of the fold, from 0.
    train : np.ndarray [shape=(n_train,)], int
        Rows of the training set in the clips table.
    validation : np.ndarray [shape=(n_validation,)], int
        Rows of the validation set; may be empty.
    test : np.ndarray [shape=(n_test,)], int
        Rows of the test set; may be empty.
    norm_index : np.ndarray [shape=(n_rows,)], int, optional
        Rows from which the mean and SD of each group are estimated; None for no normalization.
    norm_by : {"speaker", "corpus"}, default "speaker"
        Column of the clips table that names the group.

    Examples
    --------
    >>> Split(0, train=np.array([0, 1]), validation=np.array([2]), test=np.array([3]))
    Split(fold=0, train=array([0, 1]), validation=array([2]), test=array([3]), norm_index=None, norm_by='speaker')
    """

    fold: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    norm_index: np.ndarray | None = None
    norm_by: str = "speaker"


def _check_columns(clips, *columns):
    if missing := [column for column in columns if column not in clips]:
        raise ValueError(f"the clips table lacks the column {', '.join(missing)}; pass a table with it, such as "
                         "load_features(folder).clips")


def get_labels(clips, target="emotion"):
    """Return the class name of each clip.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict. "gender_emotion" has ten, two genders by five emotions; clips of other emotions have no
        class.

    Returns
    -------
    np.ndarray [shape=(n_clips,)], object
        Class names, None for a clip without a class.

    Raises
    ------
    ValueError
        If the target is unknown, or a column that names its classes is missing.

    Examples
    --------
    >>> clips = pd.DataFrame({"gender": ["female", "male"], "emotion": ["sad", "disgust"]})
    >>> get_labels(clips, "gender_emotion").tolist()
    ['female_sad', None]
    """
    if target not in TARGETS:
        raise ValueError(f"target={target!r} is unknown; choose one of {', '.join(TARGETS)}")
    _check_columns(clips, *target.split("_"))
    if target != "gender_emotion":
        return clips[target].to_numpy(dtype=object)
    names = clips["gender"] + "_" + clips["emotion"]
    return names.astype(object).where(names.isin(GENDER_EMOTIONS), None).to_numpy()


def get_classes(clips, target="emotion"):
    """Return the classes that occur in a clips table.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.

    Returns
    -------
    tuple of str
        Class names in the order of `sort_classes`.

    Raises
    ------
    ValueError
        If `get_labels` rejects the target or the clips table.

    Examples
    --------
    >>> get_classes(pd.DataFrame({"emotion": ["sad", "bored", "neutral", "sad"]}))
    ('neutral', 'sad', 'bored')
    """
    return sort_classes(pd.Series(get_labels(clips, target)).dropna().unique())


def sort_classes(names):
    """Sort class names: emotions, gender by emotion, genders as they are declared, then any other alphabetically.

    Parameters
    ----------
    names : iterable of str
        Class names.

    Returns
    -------
    tuple of str
        Sorted names.

    Examples
    --------
    >>> sort_classes(["zeal", "sad", "bored", "neutral"])
    ('neutral', 'sad', 'bored', 'zeal')
    """
    return tuple(sorted(names, key=lambda name: ((*CLASS_ORDER, name).index(name), name)))


def _get_speakers(clips):
    _check_columns(clips, "speaker")
    alternative = "or use the split random-split (--split), whose scores do not hold for unseen speakers"
    if n_missing := clips["speaker"].isna().sum():
        raise ValueError(f"{n_missing} of {len(clips)} clips have no speaker; add a column speaker and extract again, "
                         f"{alternative}")
    speakers = sorted(clips["speaker"].unique())
    if len(speakers) < 3:
        names = ", ".join(map(str, speakers))
        raise ValueError(f"{len(speakers)} speakers ({names}) are too few; provide three, {alternative}")
    return speakers


def _speaker_folds(clips):
    """Return test and validation speakers of each fold: published for RAVDESS, else alternating within each gender."""
    speakers = _get_speakers(clips)
    if speakers == [f"{actor:02d}" for actor in range(1, 25)]:
        return [tuple([f"{actor:02d}" for actor in actors] for actors in fold)
                for fold in zip(RAVDESS_TEST_ACTORS, RAVDESS_VALIDATION_ACTORS, strict=True)]
    _check_columns(clips, "gender")
    # so that every fold tests both genders
    by_gender = clips.drop_duplicates("speaker").sort_values(["gender", "speaker"])["speaker"].tolist()
    n_folds = min(5, len(speakers))
    tests = [by_gender[fold::n_folds] for fold in range(n_folds)]
    return [(tests[fold], tests[(fold + 1) % n_folds][:2]) for fold in range(n_folds)]


def _split_speakers(clips, target, folds):
    """Build a Split for each pair of test and validation speakers."""
    has_label = pd.notna(get_labels(clips, target))
    masks = [[clips["speaker"].isin(names) & has_label for names in speakers] for speakers in folds]
    return [Split(fold, np.flatnonzero(has_label & ~(test | validation)), np.flatnonzero(validation),
                  np.flatnonzero(test))
            for fold, (test, validation) in enumerate(masks)]


def speaker_independent(clips, target="emotion", seed=0):
    """Split into five folds with disjoint training, validation and test speakers.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of three speakers at least.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Not used: the folds of RAVDESS are those of [1]_, those of other corpora follow from the speakers' names.

    Returns
    -------
    list of Split
        One element per fold; fewer than five with fewer than five speakers.

    Raises
    ------
    ValueError
        If the target is unknown, a column is missing, a clip has no speaker, or there are fewer than three
        speakers.

    See Also
    --------
    leave_one_speaker_out : Use one fold per speaker, for small corpora.
    speaker_normalized : Standardize the features of each speaker.
    random_split : Split clips at random; test speakers also occur in training.

    References
    ----------
    .. [1] C. Luna-Jiménez et al., "Multimodal emotion recognition on RAVDESS dataset using transfer learning", Sensors
       21(22), 2021, doi:10.3390/s21227665.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> clips = load_features().clips
    >>> first = speaker_independent(clips)[0]
    >>> len(first.train), len(first.validation), len(first.test)
    (1020, 120, 300)
    >>> sorted(clips["speaker"][first.test].unique())
    ['02', '05', '14', '15', '16']
    """
    return _split_speakers(clips, target, _speaker_folds(clips))


def leave_one_speaker_out(clips, target="emotion", seed=0):
    """Split into one fold per test speaker; the next speaker is the validation speaker.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of three speakers at least.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Not used.

    Returns
    -------
    list of Split
        One element per speaker, in the order of their names.

    Raises
    ------
    ValueError
        If the target is unknown, a column is missing, a clip has no speaker, or there are fewer than three
        speakers.

    Examples
    --------
    >>> clips = pd.DataFrame({"speaker": ["a", "b", "c"], "emotion": ["sad", "happy", "sad"]})
    >>> [(fold.train.tolist(), fold.validation.tolist(), fold.test.tolist()) for fold in leave_one_speaker_out(clips)]
    [([2], [1], [0]), ([0], [2], [1]), ([1], [0], [2])]
    """
    speakers = _get_speakers(clips)
    return _split_speakers(clips, target, [([test], [validation]) for test, validation in
                                           zip(speakers, speakers[1:] + speakers[:1], strict=True)])


def speaker_normalized(clips, target="emotion", seed=0, *, enrollment=None):
    """Split as `speaker_independent`, with features standardized per speaker.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of three speakers at least.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Seed of the random draw of enrollment clips.
    enrollment : dict of str to int, optional
        Number of clips of each emotion from which each speaker's statistics are estimated. They are left out of the
        validation and test set. None: statistics from all clips, which is transductive, since the unlabeled test
        clips are among them.

    Returns
    -------
    list of Split
        As from `speaker_independent`, with `norm_index`.

    Raises
    ------
    ValueError
        If the target is unknown, a column is missing, a clip has no speaker, there are fewer than three speakers, or
        `enrollment` selects no clip, or more clips of an emotion than a speaker has.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> clips = load_features().clips
    >>> transductive, enrolled = speaker_normalized(clips)[0], speaker_normalized(clips, enrollment={"calm": 3})[0]
    >>> len(transductive.norm_index), len(transductive.test)
    (1440, 300)
    >>> len(enrolled.norm_index), len(enrolled.test)  # three clips of each of 24 speakers, five of them in the test set
    (72, 285)
    """
    splits = speaker_independent(clips, target)
    if enrollment is None:
        return [replace(split, norm_index=np.arange(len(clips))) for split in splits]
    _check_columns(clips, "emotion")
    rows = clips.reset_index(drop=True)
    _check_enrollment(rows, enrollment)
    enrollment_index = np.sort(np.concatenate([
        rows[rows["emotion"] == emotion].groupby("speaker").sample(n, random_state=seed).index
        for emotion, n in enrollment.items()]))
    return [replace(split, validation=np.setdiff1d(split.validation, enrollment_index),
                    test=np.setdiff1d(split.test, enrollment_index), norm_index=enrollment_index) for split in splits]


def _check_enrollment(clips, enrollment):
    if not clips["emotion"].isin(list(enrollment)).any():
        raise ValueError(f"enrollment={enrollment!r} selects no clip; name an emotion that occurs, such as "
                         "{'neutral': 2}")
    for emotion, n in enrollment.items():
        n_clips = clips[clips["emotion"] == emotion].groupby("speaker").size()
        if n < 1 or (n_clips < n).any():
            raise ValueError(f"enrollment[{emotion!r}]={n} must lie between 1 and {n_clips.min()}, the fewest clips of "
                             "this emotion that a speaker has; change it")


def train_subset(clips, target="emotion", seed=0, *, n_speakers=None, clip_fraction=1.0):
    """Split as `speaker_independent`, with fewer training and validation clips and the same test set.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of three speakers at least.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Seed of the random draw. With the same seed, a larger set of speakers contains the smaller ones.
    n_speakers : int > 0, optional
        Number of training and validation speakers, of both genders alternately; all by default, or if there are fewer.
    clip_fraction : float in (0, 1], default 1
        Fraction of the clips of each speaker and emotion.

    Returns
    -------
    list of Split
        One element per fold.

    Raises
    ------
    ValueError
        If the target is unknown, a column is missing, a clip has no speaker, there are fewer than three speakers, or
        `n_speakers` or `clip_fraction` is out of range.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> clips = load_features().clips
    >>> first = train_subset(clips, n_speakers=5)[0]
    >>> clips["speaker"][np.concatenate([first.train, first.validation])].nunique(), len(first.test)
    (5, 300)
    """
    if n_speakers is not None and n_speakers < 1:
        raise ValueError(f"n_speakers={n_speakers} must be positive; pass a number of speakers, or None for all")
    if not 0 < clip_fraction <= 1:
        raise ValueError(f"clip_fraction={clip_fraction} must lie between 0 and 1; pass 1 for all clips")
    _check_columns(clips, "speaker", "gender", "emotion")
    splits = []
    for split in speaker_independent(clips, target):
        available = clips.drop(clips.index[split.test]).sample(frac=1, random_state=seed + split.fold)
        speakers = available.drop_duplicates("speaker").assign(rank=lambda rows: rows.groupby("gender").cumcount())
        selected_speakers = speakers.sort_values("rank", kind="stable")["speaker"].iloc[:n_speakers]
        groups = available[available["speaker"].isin(selected_speakers)].groupby(["speaker", "emotion"])
        rows = clips.index.get_indexer(groups.sample(frac=clip_fraction, random_state=seed).index)
        splits.append(replace(split, train=np.intersect1d(split.train, rows),
                              validation=np.intersect1d(split.validation, rows)))
    return splits


def selection_cv(clips, target="emotion", seed=0):
    """Split for model selection: one fold per pair of the groups of test speakers.

    Models are trained on the other groups and predict both groups of the pair. On the pairs that contain group k,
    scored on the other group of the pair, a configuration for fold k can be selected without its test speakers, as in
    nested cross-validation [1]_. The published configurations are not nested: one configuration is used for all folds.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of three speakers at least.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Not used.

    Returns
    -------
    list of Split
        Ten elements for five groups, in the order of `itertools.combinations`; the pair is the validation set, and
        there is no test set.

    Raises
    ------
    ValueError
        If the target is unknown, a column is missing, a clip has no speaker, or there are fewer than three
        speakers.

    References
    ----------
    .. [1] S. Varma and R. Simon, "Bias in error estimation when using cross-validation for model selection", BMC
       Bioinformatics 7, 91, 2006, doi:10.1186/1471-2105-7-91.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> splits = selection_cv(load_features().clips)
    >>> len(splits), len(splits[0].test)
    (10, 0)
    """
    has_label = pd.notna(get_labels(clips, target))
    groups = [clips["speaker"].isin(test) for test, _ in _speaker_folds(clips)]
    return [Split(fold, np.flatnonzero(has_label & ~(a | b)), np.flatnonzero(has_label & (a | b)), np.empty(0, int))
            for fold, (a, b) in enumerate(combinations(groups, 2))]


def cross_corpus(clips, target="emotion", seed=0, *, norm_by=None):
    """Split into one fold per training corpus; all other corpora are tested.

    The protocol is that of [1]_. A corpus is tested on the classes it has in common with the training corpus. There is
    no validation set: everything is selected within the training corpus.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of two corpora at least, as `load_features` joins them.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Not used.
    norm_by : {"speaker", "corpus"}, optional
        Standardize the features of each speaker or corpus with all its clips, the unlabeled test clips included
        (transductive); no normalization by default.

    Returns
    -------
    list of Split
        In the order of the corpora's names. Corpora with a common speaker, or with fewer than two common classes, are
        never training and test corpus of the same fold; a training corpus without a test corpus has no fold.

    Raises
    ------
    ValueError
        If the target or `norm_by` is unknown, a column is missing, or no corpus can be tested.

    See Also
    --------
    leave_one_corpus_out : Train on all corpora but one.

    References
    ----------
    .. [1] B. Schuller et al., "Cross-corpus acoustic emotion recognition: variances and strategies", IEEE Transactions
       on Affective Computing 1(2), 2010, doi:10.1109/T-AFFC.2010.8.

    Examples
    --------
    >>> clips = pd.DataFrame({"corpus": ["a", "a", "b", "b", "b"], "speaker": ["a/1", "a/1", "b/1", "b/1", "b/1"],
    ...                       "emotion": ["sad", "happy", "sad", "happy", "bored"]})
    >>> [(fold.train.tolist(), fold.test.tolist()) for fold in cross_corpus(clips)]  # a model of a cannot predict bored
    [([0, 1], [2, 3]), ([2, 3, 4], [0, 1])]
    """
    corpora = sorted(clips["corpus"].unique())
    return _split_corpora(clips, target, [([name], [other for other in corpora if other != name]) for name in corpora],
                          norm_by)


def leave_one_corpus_out(clips, target="emotion", seed=0, *, norm_by=None, only_open=False):
    """Split into one fold per test corpus; all corpora without one of its speakers are used for training.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of two corpora at least, as `load_features` joins them.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Not used.
    norm_by : {"speaker", "corpus"}, optional
        As in `cross_corpus`.
    only_open : bool, default False
        Train as the deployed models are trained: only on corpora whose licence allows derivatives, and only on the
        emotions of `EMOTIONS`.

    Returns
    -------
    list of Split
        In the order of the corpora's names, without validation set.

    Raises
    ------
    ValueError
        If the target or `norm_by` is unknown, a column is missing, or no corpus can be tested.

    See Also
    --------
    cross_corpus : Train on one corpus.

    Examples
    --------
    >>> clips = pd.DataFrame({"corpus": list("aabbcc"), "speaker": list("112233"), "emotion": ["sad", "happy"] * 3})
    >>> [(fold.train.tolist(), fold.test.tolist()) for fold in leave_one_corpus_out(clips)]
    [([2, 3, 4, 5], [0, 1]), ([0, 1, 4, 5], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    corpora = sorted(clips["corpus"].unique())
    is_trainable = is_deployable(clips, target) if only_open else np.ones(len(clips), bool)
    train = sorted(clips["corpus"][is_trainable].unique())
    folds = _split_corpora(clips, target, [([other for other in train if other != name], [name]) for name in corpora],
                           norm_by)
    return [replace(fold, train=fold.train[is_trainable[fold.train]]) for fold in folds]


def speaker_independent_multi_corpus(clips, target="emotion", seed=0):
    """Split into the five folds of RAVDESS, trained on all corpora whose licence allows derivatives.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of RAVDESS and other corpora, as `load_features` joins them.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Not used.

    Returns
    -------
    list of Split
        Validation and test sets consist of RAVDESS speech. Songs of their actors are not used.

    Raises
    ------
    ValueError
        If the target is unknown, the column speaker or an actor is missing, or the names of the speakers do not begin
        with their corpus.
    """
    _check_columns(clips, "speaker")
    is_ravdess, folds = (clips["corpus"] == "ravdess").to_numpy(), []
    actors = {f"ravdess/{actor:02d}" for group in RAVDESS_TEST_ACTORS for actor in group}
    if missing := actors - set(clips["speaker"][is_ravdess]):
        raise ValueError(f"speaker {min(missing)} is missing; join the features of RAVDESS with those of other corpora "
                         f"by {SEVERAL_FOLDERS}")
    has_label = pd.notna(get_labels(clips, target))
    for fold, groups in enumerate(zip(RAVDESS_TEST_ACTORS, RAVDESS_VALIDATION_ACTORS, strict=True)):
        test, validation = (clips["speaker"].isin([f"ravdess/{actor:02d}" for actor in actors]).to_numpy()
                            for actors in groups)
        train = is_deployable(clips, target) & ~test & ~validation
        validation, test = (has_label & is_ravdess & is_group for is_group in (validation, test))
        folds.append(Split(fold, np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test)))
    return folds


def enroll_test_speakers(clips, target="emotion", seed=0, *, split, max_clips=5):
    """Change a split for speaker adaptation: some neutral clips of each test speaker are enrollment clips.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Seed of the random draw of enrollment clips.
    split : callable
        The split to change.
    max_clips : int > 0, default 5
        Maximum number of enrollment clips of a speaker, who keeps half of the neutral and calm clips in the test set.

    Returns
    -------
    list of Split
        `norm_index` contains the enrollment clips, which are excluded from the test set, as are speakers without any.

    Raises
    ------
    ValueError
        If a column is missing, no speaker has two neutral or calm clips, `max_clips` is not positive, or `split` raises
        the error.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> clips = load_features().clips
    >>> first = enroll_test_speakers(clips, split=speaker_independent)[0]
    >>> len(first.norm_index), len(first.test)  # five clips of each of five test speakers
    (25, 275)
    """
    if max_clips < 1:
        raise ValueError(f"max_clips={max_clips} must be positive; pass the number of enrollment clips of a speaker")
    _check_columns(clips, "speaker", "emotion")
    rng = np.random.default_rng(seed)
    is_neutral, enrollment = clips["emotion"].isin(["neutral", "calm"]), [np.empty(0, int)]
    for _, part in clips[is_neutral].groupby("speaker", sort=True):
        drawn = rng.permutation(clips.index.get_indexer(part.index))
        enrollment.append(np.sort(drawn[:min(max_clips, len(drawn) // 2)]))
    rows = np.concatenate(enrollment)
    if not len(rows):
        raise ValueError("no speaker has two neutral or calm clips, one for enrollment; add neutral clips")
    is_enrollment = np.isin(np.arange(len(clips)), rows)
    speakers = clips["speaker"].to_numpy()
    has_enrollment = np.isin(speakers, speakers[rows])
    folds = []
    for fold in split(clips, target, seed):
        test = fold.test[(has_enrollment & ~is_enrollment)[fold.test]]
        norm_index = rows[np.isin(speakers[rows], speakers[test])]
        folds.append(replace(fold, test=test, norm_index=norm_index, norm_by="speaker"))
    return folds


def is_deployable(clips, target="emotion"):
    """Check which clips may train a deployed model: those of corpora whose licence permits derivatives.

    For the target "emotion", the label must be one of the eight emotions of `EMOTIONS`; otherwise any label will do.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of one corpus or several.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.

    Returns
    -------
    np.ndarray [shape=(n_clips,)], bool
        True for clips that may be used.

    Examples
    --------
    >>> clips = pd.DataFrame({"corpus": ["emodb", "emodb", "tess"], "emotion": ["sad", "bored", "sad"]})
    >>> is_deployable(clips).tolist()
    [True, False, False]
    """
    is_open = clips["corpus"].isin([name for name, dataset in DATASETS.items() if dataset.allows_derivatives])
    labels = get_labels(clips, target)
    return is_open.to_numpy() & (np.isin(labels.astype(str), EMOTIONS) if target == "emotion" else pd.notna(labels))


def _split_corpora(clips, target, folds, norm_by):
    """Build a Split for each pair of training and test corpora, of corpora with disjoint speakers."""
    if norm_by not in (None, "speaker", "corpus"):
        raise ValueError(f"norm_by={norm_by!r} is unknown; choose speaker, corpus or None")
    _check_columns(clips, "speaker")
    corpus, labels = clips["corpus"].to_numpy(), get_labels(clips, target)
    has_label = pd.notna(labels)
    classes = {name: set(labels[has_label & (corpus == name)]) for name in set(corpus)}
    speakers = {name: set(rows["speaker"].dropna()) for name, rows in clips.groupby("corpus")}
    if norm_by == "speaker":
        _get_speakers(clips)
    splits: list[Split] = []
    for train, test in folds:
        is_train, is_test = np.zeros(len(clips), bool), np.zeros(len(clips), bool)
        for name in test:
            sources = [other for other in train if not speakers[other] & speakers[name]]
            common = set().union(*(classes[other] for other in sources)) & classes[name]
            is_train |= has_label & np.isin(corpus, sources)
            if len(common) > 1:
                is_test |= (corpus == name) & np.isin(labels.astype(str), sorted(common))
        if is_test.any():
            splits.append(Split(len(splits), np.flatnonzero(is_train), np.empty(0, int),
                                np.flatnonzero(is_test), np.arange(len(clips)) if norm_by else None,
                                norm_by or "speaker"))
    if not splits:
        raise ValueError(f"corpora {', '.join(sorted(classes))}: none can be tested by a model of the others; provide "
                         "the features of two with different speakers and two common classes by "
                         f"{SEVERAL_FOLDERS}")
    return splits


def train_speakers(clips, target="emotion", seed=0, *, n_speakers, max_clips=30):
    """Split into the five folds of RAVDESS, with training speakers drawn from several corpora.

    The test set of each fold consists of its RAVDESS test actors and of all clips of `HELD_OUT_CORPORA`, restricted to
    the classes of every corpus.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of RAVDESS and other corpora, as `load_features` joins them.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Seed of the random draw. With the same seed, a larger set of speakers contains the smaller ones.
    n_speakers : int > 0
        Number of training speakers.
    max_clips : int > 0, default 30
        Maximum number of clips of each training speaker, drawn at random, so that the number of clips grows with the
        number of speakers.

    Returns
    -------
    list of Split
        Without validation set.

    Raises
    ------
    ValueError
        If the target is unknown, a column is missing, there are no clips, a fold has fewer training speakers than
        `n_speakers`, or `n_speakers` or `max_clips` is not positive.
    """
    for name, value in (("n_speakers", n_speakers), ("max_clips", max_clips), ("number of clips", len(clips))):
        if value < 1:
            raise ValueError(f"{name}={value} must be positive; increase it")
    _check_columns(clips, "speaker")
    labels = get_labels(clips, target)
    has_label = pd.notna(labels)
    common = set.intersection(*(set(labels[rows]) for rows in clips.groupby("corpus").indices.values())) - {None}
    is_held_out = clips["corpus"].isin(HELD_OUT_CORPORA).to_numpy()
    splits: list[Split] = []
    for fold, actors in enumerate(RAVDESS_TEST_ACTORS):
        is_actor = clips["speaker"].isin([f"ravdess/{actor:02d}" for actor in actors]).to_numpy()
        available = clips[has_label & ~is_held_out & ~is_actor].sample(frac=1, random_state=seed + fold)
        speakers = pd.Series(sorted(available["speaker"].unique())).sample(frac=1, random_state=seed + fold)
        if len(speakers) < n_speakers:
            raise ValueError(f"{len(speakers)} training speakers are fewer than {n_speakers}; provide the features of "
                             f"more corpora by {SEVERAL_FOLDERS}")
        selected = available[available["speaker"].isin(speakers.iloc[:n_speakers])].groupby("speaker").head(max_clips)
        is_ravdess = (clips["corpus"] == "ravdess").to_numpy()
        is_test = np.isin(labels.astype(str), sorted(common)) & (is_held_out | is_actor & is_ravdess)
        splits.append(Split(fold, np.sort(clips.index.get_indexer(selected.index)), np.empty(0, int),
                            np.flatnonzero(is_test)))
    return splits


def random_split(clips, target="emotion", seed=0):
    """Split at random into 64 % training, 16 % validation and 20 % test clips, stratified by class.

    This is the original project's split: every test speaker also occurs in training.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of seven clips per class at least.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Seed of the random draw.

    Returns
    -------
    list of Split
        A list of one element.

    Raises
    ------
    ValueError
        If the target is unknown, its column is missing, the seed is negative, or there are too few clips to stratify.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> clips = load_features().clips
    >>> [split] = random_split(clips)
    >>> len(split.train), len(split.validation), len(split.test)
    (921, 231, 288)
    >>> set(clips["speaker"][split.test]) <= set(clips["speaker"][split.train])
    True
    """
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state

    check_random_state(seed)  # here, because a ValueError below means too few clips
    labels = get_labels(clips, target)
    rows = np.flatnonzero(pd.notna(labels))
    try:
        rest, test = train_test_split(rows, test_size=0.2, stratify=labels[rows], random_state=seed)
        train, validation = train_test_split(rest, test_size=0.2, stratify=labels[rest], random_state=seed)
    except ValueError as error:
        n_classes = len(set(labels[rows]))
        raise ValueError(f"{len(rows)} clips of {n_classes} classes are too few; add at least seven of each") from error
    return [Split(0, np.sort(train), np.sort(validation), np.sort(test))]


def size_matched(clips, target="emotion", seed=0, *, disjoint):
    """Split for the ablation of data leakage; all variants have the same number of training clips per class.

    Every clip is tested once.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table of three speakers at least, with the columns statement and intensity.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seed : int, default 0
        Seed of the folds and of the random draw of training clips.
    disjoint : {"clips", "repetitions", "speakers", "speakers+statements"}
        What the training and the test set do not share: "clips" (random folds), "repetitions" (both repetitions of one
        utterance are in the same set), "speakers", or "speakers+statements" (two folds per group of test speakers,
        one per tested statement).

    Returns
    -------
    list of Split
        Five elements, or ten for "speakers+statements".

    Raises
    ------
    ValueError
        If the target or `disjoint` is unknown, a column is missing, a clip has no speaker or, for the variants that
        compare them, no statement or intensity, or there are fewer than three speakers.

    Examples
    --------
    >>> from ser_utils.features.store import load_features
    >>> clips = load_features().clips
    >>> random, strict = size_matched(clips, disjoint="clips"), size_matched(clips, disjoint="speakers+statements")
    >>> len(random), len(strict)
    (5, 10)
    >>> {len(fold.train) + len(fold.validation) for fold in random + strict}
    {570}
    """
    if disjoint not in DISJOINT:
        raise ValueError(f"disjoint={disjoint!r} is unknown; choose one of {', '.join(DISJOINT)}")
    _check_columns(clips, "speaker", "emotion", "statement", *DISJOINT[disjoint])
    for column in DISJOINT[disjoint]:
        if n_missing := clips[column].isna().sum():
            raise ValueError(f"{n_missing} of {len(clips)} clips have no {column}, which disjoint={disjoint!r} needs; "
                             f"add a column {column} and extract again, or choose another split")
    labels = get_labels(clips, target)
    has_label = pd.notna(labels)
    strictest = [has_label & ~excluded for _, _, excluded in _fold_masks(clips, labels, seed, "speakers+statements")]
    counts = {name: min((labels[free] == name).sum() for free in strictest) for name in get_classes(clips, target)}
    splits = []
    for fold, (is_test, is_validation, excluded) in enumerate(_fold_masks(clips, labels, seed, disjoint)):
        rng = np.random.default_rng([seed, fold])
        rows = np.sort(np.concatenate([rng.permutation(np.flatnonzero(has_label & ~excluded & (labels == name)))[:count]
                                       for name, count in counts.items()]))
        splits.append(
            Split(fold, rows[~is_validation[rows]], rows[is_validation[rows]], np.flatnonzero(has_label & is_test)))
    return splits


def _fold_masks(clips, labels, seed, disjoint):
    """Return masks for each fold: test clips, candidates for validation, clips excluded from training."""
    if disjoint.startswith("speakers"):
        folds = [[clips["speaker"].isin(names).to_numpy() for names in speakers] for speakers in _speaker_folds(clips)]
        if disjoint == "speakers":
            return [(test, validation, test) for test, validation in folds]
        statements = [(clips["statement"] == name).to_numpy() for name in sorted(clips["statement"].dropna().unique())]
        return [(test & is_statement, validation, test | is_statement)
                for test, validation in folds for is_statement in statements]
    from sklearn.model_selection import StratifiedGroupKFold

    utterance = ["speaker", "emotion", "intensity", "statement"]
    groups = clips.groupby(utterance).ngroup() if disjoint == "repetitions" else np.arange(len(clips))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels.astype(str), groups)
    tests = [np.isin(np.arange(len(clips)), test) for _, test in folds]
    return [(test, tests[(fold + 1) % len(tests)], test) for fold, test in enumerate(tests)]


SPLITS: dict[str, Callable] = {
    "speaker-independent": speaker_independent,
    "leave-one-speaker-out": leave_one_speaker_out,
    "random-split": random_split,
    "selection-cv": selection_cv,
    "cross-corpus": cross_corpus,
    "cross-corpus-corpus-normalized": partial(cross_corpus, norm_by="corpus"),
    "cross-corpus-speaker-normalized": partial(cross_corpus, norm_by="speaker"),
    "leave-one-corpus-out": leave_one_corpus_out,
    "leave-one-corpus-out-open": partial(leave_one_corpus_out, only_open=True),
    "leave-one-corpus-out-open-adapted": partial(
        enroll_test_speakers, split=partial(leave_one_corpus_out, only_open=True)),
    "speaker-independent-multi-corpus": speaker_independent_multi_corpus,
    "speaker-independent-multi-corpus-adapted": partial(enroll_test_speakers, split=speaker_independent_multi_corpus),
    "leave-one-corpus-out-corpus-normalized": partial(leave_one_corpus_out, norm_by="corpus"),
    **{f"train-{n}-speakers-multi-corpus": partial(train_speakers, n_speakers=n) for n in TRAIN_SPEAKERS},
    "speaker-normalized": speaker_normalized,
    # RAVDESS has four neutral clips of each actor; its authors recorded calm as a second baseline
    "enrollment-normalized": partial(speaker_normalized, enrollment={"neutral": 2, "calm": 3}),
    "train-5-speakers": partial(train_subset, n_speakers=5),
    "train-10-speakers": partial(train_subset, n_speakers=10),
    "train-15-speakers": partial(train_subset, n_speakers=15),
    "train-half-clips": partial(train_subset, clip_fraction=0.5),
    "size-matched-random": partial(size_matched, disjoint="clips"),
    "size-matched-repetitions": partial(size_matched, disjoint="repetitions"),
    "size-matched-speakers": partial(size_matched, disjoint="speakers"),
    "size-matched-speakers-statements": partial(size_matched, disjoint="speakers+statements")}
MULTI_CORPUS_SPLITS = frozenset(name for name in SPLITS if "corpus" in name)
UNSEEN_SPEAKER_SPLITS = SPLITS.keys() - {"random-split", "size-matched-random", "size-matched-repetitions"}
