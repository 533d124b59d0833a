"""Who may be learned from, who decides, who is tested: folds in which nobody sits on two sides.

A protocol is a function of a clips table, a labelling and a seed that returns a list of Split, one a fold.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, permutations

import numpy as np
import pandas as pd

from ser_utils.corpora import EMOTIONS, LABELS, TEN

# Test actors of Luna-Jimenez et al. 2021 (doi:10.3390/s21227665); validation actors of arXiv:2606.03359, which uses
# the same folds
RAVDESS_TEST = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
RAVDESS_VALIDATION = ((3, 6), (10, 11), (8, 17), (1, 14), (2, 5))

READING = (*EMOTIONS, *TEN, "female", "male")


@dataclass(frozen=True)
class Split:
    """Row numbers of one fold, none of them in two parts.

    `known`, where it is given, are the clips by which features are standardised, without their labels: those of each
    speaker, or whatever column of the clips table `by` names.

    >>> Split(0, train=np.array([0, 1]), validation=np.array([2]), test=np.array([3]))
    Split(fold=0, train=array([0, 1]), validation=array([2]), test=array([3]), known=None, by='speaker')
    """

    fold: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    known: np.ndarray | None = None
    by: str = "speaker"


def label(clips, labels="emotion"):
    """Each clip's class name, `None` where the scheme has no class for it. [shape=(clips,)]

    `gender_emotion` has the ten codes 0-9, which cover the 960 of RAVDESS's 1,440 clips that are angry, calm, fearful,
    happy or sad; `emotion` and `gender` cover all.

    >>> clips = pd.DataFrame({"gender": ["female", "male"], "emotion": ["sad", "disgust"]})
    >>> label(clips, "gender_emotion").tolist()
    ['female_sad', None]
    >>> label(clips, "mood")
    Traceback (most recent call last):
    ValueError: labels='mood' is unknown; choose one of emotion, gender_emotion, gender
    """
    if labels not in LABELS:
        raise ValueError(f"labels={labels!r} is unknown; choose one of {', '.join(LABELS)}")
    if labels != "gender_emotion":
        return clips[labels].to_numpy(dtype=object)
    names = clips["gender"] + "_" + clips["emotion"]
    return names.astype(object).where(names.isin(TEN), None).to_numpy()


def classes(clips, labels="emotion"):
    """The classes that occur, in reading order. tuple of str

    >>> classes(pd.DataFrame({"emotion": ["sad", "bored", "neutral", "sad"]}))
    ('neutral', 'sad', 'bored')
    """
    names = pd.Series(label(clips, labels)).dropna().unique()
    return tuple(sorted(names, key=lambda name: (READING.index(name) if name in READING else len(READING), name)))


def _speakers(clips):
    unknown = clips["speaker"].isna().sum()
    if unknown:
        raise ValueError(f"{unknown} of {len(clips)} clips do not say who speaks, so speakers cannot be kept apart; "
                         "add a column speaker and extract again, or take --protocol random-split, whose score says "
                         "nothing about voices that were not trained on")
    speakers = sorted(clips["speaker"].unique())
    if len(speakers) < 3:
        raise ValueError(f"{len(speakers)} speakers ({', '.join(speakers)}) cannot be training, validation and test "
                         "at once; bring at least three, or take --protocol random-split, whose score says nothing "
                         "about other voices")
    return speakers


def _speaker_folds(clips):
    """Test and validation speakers by fold: RAVDESS's published ones, or five alike for any other set of speakers."""
    speakers = _speakers(clips)
    if speakers == [f"{actor:02d}" for actor in range(1, 25)]:
        return [tuple([f"{actor:02d}" for actor in side] for side in sides)
                for sides in zip(RAVDESS_TEST, RAVDESS_VALIDATION, strict=True)]
    # dealt in turn within each gender, so that every fold hears both
    dealt = clips.drop_duplicates("speaker").sort_values(["gender", "speaker"])["speaker"].tolist()
    count = min(5, len(speakers))
    tests = [dealt[fold::count] for fold in range(count)]
    return [(tests[fold], tests[(fold + 1) % count][:2]) for fold in range(count)]


def _apart(clips, labels, sides):
    """A Split for each pair of test and validation speakers."""
    usable = pd.notna(label(clips, labels))
    splits = []
    for fold, (test, validation) in enumerate(sides):
        tested, validated = clips["speaker"].isin(test) & usable, clips["speaker"].isin(validation) & usable
        splits.append(Split(fold, np.flatnonzero(usable & ~tested & ~validated), np.flatnonzero(validated),
                            np.flatnonzero(tested)))
    return splits


def speaker_independent(clips, labels="emotion", seed=0):
    """Five folds; test and validation speakers are never trained on. The same for every seed.

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> first = speaker_independent(clips)[0]
    >>> len(first.train), len(first.validation), len(first.test)
    (1020, 120, 300)
    >>> sorted(clips["speaker"][first.test].unique())
    ['02', '05', '14', '15', '16']
    """
    return _apart(clips, labels, _speaker_folds(clips))


def leave_one_speaker_out(clips, labels="emotion", seed=0):
    """A fold a speaker, who is tested; the next one validates. For corpora of few speakers.

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> folds = leave_one_speaker_out(clips)
    >>> len(folds), [clips["speaker"][side].unique().tolist() for side in (folds[0].test, folds[0].validation)]
    (24, [['01'], ['02']])
    """
    speakers = _speakers(clips)
    return _apart(clips, labels, [([one], [after]) for one, after in
                                  zip(speakers, speakers[1:] + speakers[:1], strict=True)])


def adapted(clips, labels="emotion", seed=0, *, resting=None):
    """Speaker-independent, but each speaker's features are standardised by clips of their own: all, or a few at rest.

    With all it is transductive: the unlabelled clips of a test speaker, those to be predicted among them, take part.
    `resting` is how many clips of which emotions are known beforehand instead; the seed draws them, and they are not
    predicted.

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> whole, few = adapted(clips)[0], adapted(clips, resting={"neutral": 2, "calm": 3})[0]
    >>> len(whole.known), len(whole.test)
    (1440, 300)
    >>> len(few.known), len(few.test)  # five clips of each of 24 speakers, five of them tested
    (120, 275)
    """
    splits = speaker_independent(clips, labels)
    if resting is None:
        return [replace(split, known=np.arange(len(clips))) for split in splits]
    rows = clips.reset_index(drop=True)
    drawn = [rows[rows["emotion"] == emotion].groupby("speaker").sample(count, random_state=seed)
             for emotion, count in resting.items()]
    known = np.sort(np.concatenate([part.index for part in drawn]))
    return [replace(split, validation=np.setdiff1d(split.validation, known), test=np.setdiff1d(split.test, known),
                    known=known) for split in splits]


def fewer(clips, labels="emotion", seed=0, *, speakers=None, share=1.0):
    """Speaker-independent with less to learn from: so many speakers, or a share of each one's clips of each emotion.

    Speakers are drawn by the seed, women and men in turn; more of them include the fewer.

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> fold = fewer(clips, speakers=5)[0]
    >>> clips["speaker"][[*fold.train, *fold.validation]].nunique(), len(fold.test)  # of 24; all are tested
    (5, 300)
    """
    splits = []
    for split in speaker_independent(clips, labels):
        there = clips.drop(clips.index[split.test]).sample(frac=1, random_state=seed + split.fold)
        drawn = there.drop_duplicates("speaker").assign(turn=lambda found: found.groupby("gender").cumcount())
        chosen = drawn.sort_values("turn", kind="stable")["speaker"].iloc[:speakers]
        of_them = there[there["speaker"].isin(chosen)].groupby(["speaker", "emotion"])
        kept = clips.index.get_indexer(of_them.sample(frac=share, random_state=seed).index)
        splits.append(replace(split, train=np.intersect1d(split.train, kept),
                              validation=np.intersect1d(split.validation, kept)))
    return splits


def nested(clips, labels="emotion", seed=0):
    """For choosing: each pair of test groups, in turn, validates models of all other speakers; nobody is tested.

    What fold k is to use may rest on every pair with group k in it, by what its models say of the pair's other group:
    those models never met fold k's test speakers, and these scores are not theirs. One fold a pair, in the order
    of `itertools.combinations`.

    >>> from ser_utils import store
    >>> folds = nested(store.load().clips)
    >>> len(folds), len(folds[0].train), len(folds[0].validation), len(folds[0].test)
    (10, 840, 600, 0)
    """
    usable, groups = pd.notna(label(clips, labels)), [clips["speaker"].isin(test) for test, _ in _speaker_folds(clips)]
    pairs = [one | other for one, other in combinations(groups, 2)]
    return [Split(fold, np.flatnonzero(usable & ~pair), np.flatnonzero(usable & pair), np.empty(0, int))
            for fold, pair in enumerate(pairs)]


def across(clips, labels="emotion", seed=0, *, by=None):
    """One corpus teaches, another is tested: a fold an ordered pair of corpora, over the emotions that both have.

    Nothing validates: whatever is chosen is chosen within the teaching corpus. With `by` ("speaker", "corpus") features
    are standardised by all clips of each, transductively: those to be predicted take part, without labels.

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> other = clips.query("speaker < '03' and emotion != 'calm'").assign(corpus="other", speaker="s")
    >>> [(len(fold.train), len(fold.test)) for fold in across(pd.concat([clips, other], ignore_index=True))]
    [(104, 1248), (1248, 104)]
    >>> across(clips)
    Traceback (most recent call last):
    ValueError: all clips are of ravdess; name the features of two corpora to go across
    """
    here = clips["corpus"].to_numpy()
    named = {corpus: set(label(clips[here == corpus], labels)) - {None} for corpus in sorted(set(here))}
    if len(named) < 2:
        raise ValueError(f"all clips are of {here[0]}; name the features of two corpora to go across")
    if by == "speaker":
        _speakers(clips)
    splits = []
    for fold, (source, target) in enumerate(permutations(named, 2)):
        both = named[source] & named[target]
        met = set(clips["speaker"][here == source].dropna()) & set(clips["speaker"][here == target].dropna())
        if len(both) < 2 or met:
            raise ValueError(f"{source} and {target} " + (f"share {len(met)} speakers, so neither tests the other on "
                             "unseen voices" if met else f"have {len(both)} {labels} classes in common") +
                             "; take two other corpora")
        common = np.isin(label(clips, labels).astype(str), sorted(both))
        splits.append(Split(fold, np.flatnonzero(common & (here == source)), np.empty(0, int),
                            np.flatnonzero(common & (here == target)),
                            None if by is None else np.arange(len(clips)), by or "speaker"))
    return splits


def random_split(clips, labels="emotion", seed=0):
    """The original project's way: files drawn at random, 64/16/20 %, stratified by class. Speakers sit on all sides.

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> [split] = random_split(clips)
    >>> len(split.train), len(split.validation), len(split.test)
    (921, 231, 288)
    >>> len(set(clips["speaker"][split.train]) & set(clips["speaker"][split.test]))  # everybody is known
    24
    """
    from sklearn.model_selection import train_test_split

    names = label(clips, labels)
    rows = np.flatnonzero(pd.notna(names))
    try:
        rest, test = train_test_split(rows, test_size=0.2, stratify=names[rows], random_state=seed)
        train, validation = train_test_split(rest, test_size=0.2, stratify=names[rest], random_state=seed)
    except ValueError as error:
        raise ValueError(f"{len(rows)} clips of {len(set(names[rows]))} classes are too few for three sides; bring "
                         "seven of each class") from error
    return [Split(0, np.sort(train), np.sort(validation), np.sort(test))]


def rung(clips, labels="emotion", seed=0, *, apart):
    """One step of the leak's story: all steps test every clip once, and learn from equally many clips of each class.

    `apart` is what training and test never share: "clips" (drawn at random), "repetitions" (the two takes of one line
    stay together), "speakers", or "speakers, statement" (nor is the tested sentence ever heard in training; ten folds,
    those of the speakers once for each of two sentences).

    >>> from ser_utils import store
    >>> clips = store.load().clips
    >>> lowest, strictest = rung(clips, apart="clips"), rung(clips, apart="speakers, statement")
    >>> len(lowest), len(strictest)
    (5, 10)
    >>> len({len(fold.train) + len(fold.validation) for fold in lowest + strictest})  # all learn from equally many
    1
    """
    names = label(clips, labels)
    usable = pd.notna(names)
    strictest = [usable & ~shut for _, _, shut in _sides(clips, names, seed, "speakers, statement")]
    counts = {name: min((names[free] == name).sum() for free in strictest) for name in classes(clips, labels)}
    return [_drawn(fold, names, counts, seed, usable & tested, validated, usable & ~shut)
            for fold, (tested, validated, shut) in enumerate(_sides(clips, names, seed, apart))]


def _sides(clips, names, seed, apart):
    """Masks of each fold: what is tested, what could validate, and what must not be learned from."""
    if apart.startswith("speakers"):
        folds = [[clips["speaker"].isin(side).to_numpy() for side in sides] for sides in _speaker_folds(clips)]
        if apart == "speakers":
            return [(test, validation, test) for test, validation in folds]
        said = [(clips["statement"] == statement).to_numpy() for statement in sorted(clips["statement"].unique())]
        return [(test & here, validation, test | here) for test, validation in folds for here in said]
    from sklearn.model_selection import StratifiedGroupKFold

    line = ["speaker", "emotion", "intensity", "statement"]
    groups = clips.groupby(line).ngroup() if apart == "repetitions" else np.arange(len(clips))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(names, names.astype(str), groups)
    tests = [np.isin(np.arange(len(clips)), test) for _, test in folds]
    return [(test, tests[(fold + 1) % len(tests)], test) for fold, test in enumerate(tests)]


def _drawn(fold, names, counts, seed, tested, validated, free):
    """A Split that learns from so many of the free rows of each class."""
    rng = np.random.default_rng([seed, fold])
    drawn = [rng.permutation(np.flatnonzero(free & (names == name)))[:count] for name, count in counts.items()]
    rows = np.sort(np.concatenate(drawn))
    return Split(fold, rows[~validated[rows]], rows[validated[rows]], np.flatnonzero(tested))


LEAK = {"leak-random": "clips", "leak-repetitions": "repetitions", "leak-speakers": "speakers",
        "leak-speakers-statement": "speakers, statement"}
LEARN: dict[str, dict] = {
    "learn-5-speakers": {"speakers": 5}, "learn-10-speakers": {"speakers": 10}, "learn-15-speakers": {"speakers": 15},
    "learn-half-clips": {"share": 0.5}}
# RAVDESS has four neutral clips of each actor; its authors recorded calm as a second baseline
KNOWN = {"speaker-adapted": None, "few-shot": {"neutral": 2, "calm": 3}}
PROTOCOLS: dict[str, Callable] = {
    "speaker-independent": speaker_independent, "leave-one-speaker-out": leave_one_speaker_out,
    "random-split": random_split, "nested": nested, "across": across,
    **{f"across-by-{by}": partial(across, by=by) for by in ("corpus", "speaker")},
    **{name: partial(adapted, resting=few) for name, few in KNOWN.items()},
    **{name: partial(fewer, **less) for name, less in LEARN.items()},
    **{name: partial(rung, apart=apart) for name, apart in LEAK.items()}}
# nobody tested was trained on
UNSEEN = tuple(name for name in PROTOCOLS if name not in ("random-split", "leak-random", "leak-repetitions"))
