"""Anybody's split, looked through for what flatters a score: who and what sits on both sides, what betrays a label."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils import audio, corpora, features, own
from ser_utils.parallel import each

SIDES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
         "dev": "validation", "test": "test", "testing": "test"}
FLOOR_DB, ENDS, FRAMES = 25.0, 0.02, 32  # of a fingerprint: below the loudest; energy before and after it; steps
# Between fingerprints. Of a million pairs of different clips of RAVDESS none reaches 0.93; of clips and their copies at
# another level, with noise 10 dB below, or through MP3 at 20 kbit/s, 94 to 100 % do (rooms and telephones hide them)
ALIKE = 0.96
BETRAYS = 0.5  # of the way from chance to certainty: what format or level alone may not reach. With all of their
# emotions RAVDESS and EMO-DB reach 0.2; of two that differ in loudness, as anger and calm do, level tells more
SHORTEST = 0.8  # s; in half a second different people sound alike
FEWEST = 5  # clips of a class on a side, to say anything of it


@dataclass
class Finding:
    """What is wrong ("leak"), doubtful ("doubt") or cannot be seen ("note"), in words, and the rows that show it.

    >>> finding = Finding("doubt", "on one side only: calm")
    >>> finding.kind, finding.text, len(finding.rows)
    ('doubt', 'on one side only: calm', 0)
    """

    kind: str
    text: str
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)


def read(tables):
    """The rows of one CSV with a column `split`, or of two or three: train, test, and validation. pd.DataFrame

    They need `path` and `emotion`. Speakers come from a column `speaker`, else from the names of a published corpus.
    Raises CorpusError when the tables cannot be used.

    >>> import tempfile
    >>> rows = pd.DataFrame({"path": ["a.wav", "b.wav"], "emotion": ["Anger", "sad"], "split": ["Training", "test"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows.to_csv(f"{folder}/split.csv", index=False)
    ...     read([f"{folder}/split.csv"])[["path", "emotion", "side"]].values.tolist()
    [['a.wav', 'angry', 'train'], ['b.wav', 'sad', 'test']]
    """
    if len(tables) == 1:
        rows = own.table(Path(tables[0])).assign(folder=Path(tables[0]).parent)
        if "split" not in rows:
            raise corpora.CorpusError(f"{tables[0]}: there is no column split; say train, validation or test in one, "
                                      "or give a table for each")
        rows["side"] = rows["split"].str.lower().map(SIDES)
        if rows["side"].isna().any():
            row = rows["side"].isna().idxmax()
            raise corpora.CorpusError(f"{tables[0]}, row {row + 1}: split {rows['split'][row]!r} is none of "
                                      f"{', '.join(SIDES)}; call it one of them")
    else:
        rows = pd.concat([own.table(Path(table)).assign(side=side, folder=Path(table).parent) for table, side in
                          zip(tables, ("train", "test", "validation"), strict=False)], ignore_index=True)
    said = rows["speaker"] if "speaker" in rows else pd.Series(None, rows.index, dtype=object)
    return _both_sides(rows.assign(emotion=own.common(rows["emotion"]),
                                   speaker=said.fillna(rows["path"].map(_speaker))), "row is")


def _both_sides(rows, what):
    for side in ("train", "test"):
        if not (rows["side"] == side).any():
            raise corpora.CorpusError(f"no {what} for {side}; an audit needs both sides (paths are relative to "
                                      f"{rows['folder'].iloc[0]})")
    return rows


def _speaker(path):
    found = {f"{known.voices}/{match['speaker']}" for known in corpora.CORPORA.values()
             if (match := known.match(Path(path)))}
    return found.pop() if len(found) == 1 else None


def fingerprint(coefficients):
    """What a recording sounds like whatever its level, format and silence: unit vectors that lie close for copies.

    [shape=(frames, 64)] -> [shape=(416,)]; bands in dB down to `FLOOR_DB`, between the points where the energy begins
    and ends, in `FRAMES` steps, without their mean.

    >>> y = audio.load(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    >>> usual, softer, backwards = (fingerprint(features.mfcc(sound)) for sound in (y, 0.1 * y, y[::-1]))
    >>> usual.shape
    (416,)
    >>> bool(usual @ softer > ALIKE), bool(usual @ backwards > ALIKE)
    (True, False)
    """
    mel = features.log_mel(coefficients)
    mel = np.maximum(mel - mel.max(), -FLOOR_DB) + FLOOR_DB
    energy = np.cumsum((10 ** (mel / 10) - 1).sum(axis=1))
    ends = np.interp([ENDS, 1 - ENDS], energy / energy[-1], np.arange(len(mel)))
    bands = mel[:, 4:56].reshape(len(mel), -1, 4).mean(axis=2)
    steps = np.stack([np.interp(np.linspace(ends[0], ends[1], FRAMES), np.arange(len(mel)), band) for band in bands.T])
    steps -= steps.mean(axis=1, keepdims=True)
    return (steps / (np.linalg.norm(steps) + 1e-9)).ravel()


def facts(path):
    """One recording: its fingerprint, a digest of its samples, its format, and its level. dict, or an AudioError

    >>> found = facts(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    >>> found["format"], found["fingerprint"].shape
    ('16000 Hz, 1 channel, PCM_16', (416,))
    >>> print(facts(Path("gone.wav")))
    gone.wav: cannot be opened (No such file or directory); check that it is there and readable
    """
    try:
        with audio.opened(path) as sound:
            form = f"{sound.samplerate} Hz, {sound.channels} channel{'s' * (sound.channels > 1)}, {sound.subtype}"
        y = audio.load(path)
    except audio.AudioError as error:
        return error
    loudness = 10 * np.log10(np.mean(np.square(audio.frame(y, 1024, 512)), axis=1) + 1e-10)
    speech = audio.trim(y)
    return {"format": form, "seconds": len(speech) / 16000,
            "digest": hashlib.blake2b(y.tobytes(), digest_size=8).hexdigest(),
            "peak": 20 * np.log10(np.abs(y).max()), "floor": np.quantile(loudness, 0.05),
            "loudness": np.quantile(loudness, 0.9), "fingerprint": fingerprint(features.mfcc(speech))}


def audit(rows, *, jobs=-1, progress=True):
    """Everything that speaks against a split. list of Finding, empty when nothing does

    `rows` as `read` gives them. Recordings are read over `jobs` processes. Raises CorpusError when none of a side can
    be read.

    >>> folder = corpora.ROOT / "data" / "miniature"
    >>> rows = corpora.read(folder)[:16].assign(folder=folder, side=["train"] * 12 + ["test"] * 4)
    >>> audit(rows, jobs=1, progress=False)[0].text
    '4 of 4 test speakers are also in train'
    """
    known, unreadable = listen(rows, jobs=jobs, progress=progress)
    return _speakers(rows) + _validation(rows) + _labels(rows) + unreadable + check(known)


def listen(rows, *, jobs=-1, progress=True):
    """The rows that can be read with their `facts`, and a list of what there is to say of the others.

    >>> folder = corpora.ROOT / "data" / "miniature"
    >>> rows = corpora.read(folder)[:2].assign(folder=folder, side=["train", "test"])
    >>> known, unreadable = listen(rows, jobs=1, progress=False)
    >>> known["format"].tolist(), unreadable
    (['16000 Hz, 1 channel, PCM_16', '16000 Hz, 1 channel, PCM_16'], [])
    """
    from joblib import delayed

    work = (delayed(facts)(Path(row.folder) / row.path) for row in rows.itertuples())
    heard = list(each(work, len(rows), "listening", "clip", jobs=jobs, progress=progress))
    good = np.array([isinstance(one, dict) for one in heard])
    errors = [str(one) for one in heard if not isinstance(one, dict)]
    known = rows[good].reset_index(drop=True).join(pd.DataFrame([one for one in heard if isinstance(one, dict)]))
    return _both_sides(known, "recording can be read") if good.any() else _both_sides(rows[good], ""), [
        Finding("note", f"{len(errors)} recordings cannot be read and were not listened to",
                pd.DataFrame({"why": errors}))] * bool(errors)


def check(known):
    """What speaks against recordings that `listen` heard. list of Finding

    >>> folder = corpora.ROOT / "data" / "miniature"
    >>> same = corpora.read(folder).iloc[[0, 0]].assign(folder=folder, side=["train", "test"])
    >>> known, _ = listen(same, jobs=1, progress=False)
    >>> check(known)[-1].text
    '1 test recordings are also in train, 1 of them sample by sample'
    """
    return _copies(known) + _betrayed(known, ["format"], "the file format (rate, channels, coding)") + _betrayed(
        known, ["peak", "floor", "loudness"], "level (dB re full scale: peak, quietest and loud moments)")


def _side(rows, name):
    return rows[rows["side"] == name]


def _speakers(rows):
    unknown = rows["speaker"].isna().sum()
    found = [Finding("note", f"{unknown} clips do not say who speaks: whether their voices are on both sides cannot be "
                             "seen; add a column speaker")] if unknown else []
    met = set(_side(rows, "test")["speaker"].dropna())
    for side in ("train", "validation"):
        both = met & set(_side(rows, side)["speaker"])
        if both:
            shared = rows[rows["speaker"].isin(both) & rows["side"].isin((side, "test"))]
            found.append(Finding("leak", f"{len(both)} of {len(met)} test speakers are also in {side}",
                                 shared.groupby(["speaker", "side"]).size().unstack(fill_value=0)))
    return found


def _copies(rows):
    """Recordings on two sides that are the same, or that nobody could have spoken twice."""
    from sklearn.neighbors import NearestNeighbors

    brief = rows["seconds"] < SHORTEST
    found = [Finding("note", f"{brief.sum()} clips have less than {SHORTEST} s of sound: of them only exact copies are "
                             "found")] if brief.any() else []
    test = rows[rows["side"] == "test"]
    for side in ("train", "validation"):
        there = rows[rows["side"] == side]
        exact = test.merge(there, on="digest", suffixes=("", "_there"))
        pairs = [pd.DataFrame({"test": exact["path"], side: exact["path_there"], "alike": 1.0})]
        long, asked = there[~brief[there.index]], test[~brief[test.index] & ~test["digest"].isin(exact["digest"])]
        if len(long) and len(asked):
            apart, which = NearestNeighbors(n_neighbors=1).fit(np.stack(long["fingerprint"])).kneighbors(
                np.stack(asked["fingerprint"]))
            alike = 1 - apart[:, 0] ** 2 / 2  # of unit vectors: their cosine
            near = pd.DataFrame({"test": asked["path"].to_numpy(), side: long["path"].to_numpy()[which[:, 0]],
                                 "alike": alike.round(3)})
            pairs.append(near[alike > ALIKE])
        both = pd.concat(pairs, ignore_index=True)
        if len(both):
            found.append(Finding("leak", f"{both['test'].nunique()} test recordings are also in {side}, "
                                         f"{exact['path'].nunique()} of them sample by sample", both))
    return found


def _validation(rows):
    if (rows["side"] == "validation").any():
        return []
    return [Finding("doubt", "nothing is set aside to choose by: if epochs, settings or the best of several runs were "
                             "picked by the score on these test rows, it is a validation score and no test")]


def _labels(rows):
    counts = rows.groupby(["emotion", "side"]).size().unstack(fill_value=0)
    absent = [name for name in counts.index if (counts.loc[name, ["train", "test"]] == 0).any()]
    found = [Finding("doubt", f"on one side only: {', '.join(absent)}", counts)] if absent else []
    shares = counts / counts.sum()
    if shares["test"].max() > 1.5 / len(counts):
        found.append(Finding("note", f"{shares['test'].idxmax()} is {shares['test'].max():.0%} of the test rows: "
                                     "always saying so has that accuracy; read the UAR", counts))
    return found


def _betrayed(rows, columns, name):
    """What a small tree makes of the emotions by these columns alone, from the training side to the test side."""
    from sklearn.metrics import recall_score
    from sklearn.tree import DecisionTreeClassifier

    counts = rows.groupby(["emotion", "side"]).size().unstack(fill_value=0)
    usable = rows[rows["emotion"].isin(counts.index[(counts[["train", "test"]] >= FEWEST).all(axis=1)])]
    classes = usable["emotion"].nunique()
    if classes < 2:
        return []
    coded, train, test = pd.get_dummies(usable[columns]), usable["side"] == "train", usable["side"] == "test"
    tree = DecisionTreeClassifier(min_samples_leaf=FEWEST, class_weight="balanced", random_state=0)
    heard = tree.fit(coded[train], usable["emotion"][train]).predict(coded[test])
    recall = recall_score(usable["emotion"][test], heard, average="macro")
    if recall < 1 / classes + BETRAYS * (1 - 1 / classes):
        return []
    groups = rows.groupby("emotion")
    shown = groups["format"].value_counts().unstack(fill_value=0) if columns == ["format"] else groups[columns].median()
    return [Finding("doubt", f"{name} alone tells the emotion with {recall:.0%} UAR (chance {1 / classes:.0%}): a "
                             "model can learn how it was recorded instead of how it was said", shown.round(1))]


def text(rows, findings, most=5):
    """Findings in plain words, with the first rows that show them, and a verdict. str

    >>> rows = pd.DataFrame({"path": ["a.wav", "b.wav"], "side": ["train", "test"], "speaker": ["Ann", "Bob"]})
    >>> print(text(rows, []))
    train: 1 clips of 1 speakers.
    test: 1 clips of 1 speakers.
    <BLANKLINE>
    Verdict: nothing was found that would flatter a score: voices and recordings are apart.
    """
    sides = rows.groupby("side", sort=False).agg(clips=("path", "size"), speakers=("speaker", "nunique"))
    lines = [f"{side}: {row.clips} clips" + f" of {row.speakers} speakers" * bool(row.speakers) + "."
             for side, row in sides.iterrows()]
    for finding in findings:
        lines += ["", f"{finding.kind.upper()}: {finding.text}."]
        if len(finding.rows):
            lines += ["  " + line for line in finding.rows.head(most).to_string().splitlines()]
            lines += [f"  ... and {len(finding.rows) - most} more"] * (len(finding.rows) > most)
    return "\n".join([*lines, "", f"Verdict: {verdict(findings)}"])


def verdict(findings):
    """One sentence on what a score on this split would be worth.

    >>> verdict([])
    'nothing was found that would flatter a score: voices and recordings are apart.'
    >>> verdict([Finding("leak", "2 of 5 test speakers are also in train")]).partition(".")[0]
    'the test side is not apart from what is learned and chosen on'
    """
    if any(one.kind == "leak" for one in findings):
        return ("the test side is not apart from what is learned and chosen on. A score on it says how well a model "
                "knows these recordings and voices again, not how well it hears anybody else.")
    if findings:
        return ("no voice and no recording was found on two sides; see above for what is doubtful or could not be seen "
                "before a score on it is believed.")
    return "nothing was found that would flatter a score: voices and recordings are apart."
