"""What microphones and strangers do to the networks that ship: python tools/measure_live.py RAVDESS EMODB

Needs the recordings of both corpora, and the networks of tools/train_live.py. Writes results/live/predictions.csv.gz:
under `protocol`, what was done to the clips of unseen speakers before `cnn`, trained on clean clips, and `cnn_live`
heard them, each trained anew for every fold; and what the shipped networks say of EMO-DB, which they have never met.
`strange` is how unlike the training speech a clip was, 1 at the limit. Resumes from build/live.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm
from train_live import usual

from ser_utils import audio, compare, corpora, distort, features, live, models, publish, runtime, splits, store
from ser_utils.parallel import each

BUILD, RESULTS = Path("build/live"), publish.PUBLISHED / "live"
USED = "used to the speaker"


def heard(path, under="clean", seed=0):
    """The features of a recording under one condition. [shape=(frames, n_mfcc)], float32"""
    return features.mfcc(audio.trim(distort.CONDITIONS[under](audio.load(path), live.SR, seed)))


def sounds():
    """Of the code that decides how a clip sounds under a condition: what is kept was made by the same."""
    code = store.code_here().encode() + Path(distort.__file__).read_bytes()
    return hashlib.blake2b(code, digest_size=6).hexdigest()


def condition(name, folder, clips):
    """Every clip under one condition, kept in build/live. list of [shape=(frames, n_mfcc)]"""
    path = BUILD / f"{name.replace(' ', '_')}_{sounds()}.npz"
    if not path.is_file():
        made = Parallel(-1)(delayed(heard)(Path(folder) / clip, name, row)
                            for row, clip in enumerate(clips["path"]))
        np.savez(path, frames=np.concatenate(made), ends=np.cumsum([len(one) for one in made]))
    with np.load(path, allow_pickle=False) as kept:
        return np.split(kept["frames"], kept["ends"][:-1])


def table(unit, clips, p, classes, strange=np.nan):
    """Rows of the predictions table."""
    p = pd.DataFrame(p, columns=classes).reindex(columns=sorted(classes, key=splits.READING.index))
    keys = pd.DataFrame({"model": unit.model, "protocol": unit.protocol, "labels": unit.labels, "seed": unit.seed,
                         "fold": unit.fold, "clip": clips["clip"].to_numpy(), "speaker": clips["speaker"].to_numpy()})
    return keys.assign(emotion=splits.label(clips, unit.labels).astype(str), strange=np.round(strange, 3)).join(
        p.add_prefix("p_").round(4))


STRANGERS = [compare.Unit(model, "EMO-DB", labels, 0, 0, "test") for labels, model in live.RECIPES.items()]


def readings(name, fold):
    """Every reading of one test fold by one recipe. list of compare.Unit"""
    return [compare.Unit(name, what, "emotion", 0, fold, "test")
            for what in (*distort.CONDITIONS, USED, f"not {USED}")]


def fold_of(name, number):
    """One recipe, trained on one fold's other speakers, and what it hears under every condition. Kept in build/live."""
    data = store.load()
    path = BUILD / f"{name}_{number}_{compare.recipe(name, data)}_{sounds()}.csv"
    if path.is_file():
        return path
    split = splits.speaker_independent(data.clips)[number]
    learned, y = np.sort([*split.train, *split.validation]), splits.label(data.clips).astype(str)
    model = models.find(name).estimator(0).fit([data.sequences[row] for row in learned], y[learned])
    known = usual([data.sequences[row] for row in learned], number)
    limit = live.networks()["emotion"].arrays["limit"]
    few = splits.PROTOCOLS["few-shot"](data.clips)[number]
    accustomed = features.by_speaker(data.sequences, data.clips["speaker"].to_numpy(), few.known, learned)
    rows = []
    for unit in readings(name, number):
        under, asked = unit.protocol, split.test if unit.protocol in distort.CONDITIONS else few.test
        X = (condition(under, "", data.clips) if under in distort.CONDITIONS else
             accustomed if under == USED else data.sequences)
        X = [X[row] for row in asked]
        strange = [runtime.distance(x, **known) / limit for x in X]
        rows.append(table(unit, data.clips.iloc[asked], model.predict_proba(X), model.classes_, strange))
    pd.concat(rows).to_csv(path, index=False)
    return path


def strangers(folder):
    """What the shipped networks say of EMO-DB: the gender of all clips, the emotion of those that RAVDESS has."""
    clips, rows = corpora.read(folder, "emodb"), []
    X = pd.Series([heard(Path(folder) / clip) for clip in tqdm(clips["path"], desc="EMO-DB")], clips.index)
    for unit in STRANGERS:
        network, asked = live.networks()[unit.labels], clips
        if unit.labels == "emotion":
            asked = clips[clips["emotion"].isin(network.classes)]
        p = [network.predict_proba(x) for x in X[asked.index]]
        strange = [live.networks()["emotion"].strange(x) for x in X[asked.index]]
        rows.append(table(unit, asked, p, network.classes, strange))
    return pd.concat(rows)


def main():
    """Leave a trace, measure, and write the predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", help="folder of its recordings")
    parser.add_argument("emodb", help="folder of its recordings")
    options = parser.parse_args()
    for folder in (BUILD, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    publish.require_committed(RESULTS)
    data = store.load()
    folds = [(name, number) for number in range(5) for name in ("cnn_live", "cnn")]
    units = [unit for fold in folds for unit in readings(*fold)] + STRANGERS
    looks = publish.trace(RESULTS, units, data)
    looks.loc[looks["protocol"] == "EMO-DB", "corpus"] = "emodb"
    for what in tqdm(distort.CONDITIONS, desc="conditions"):
        condition(what, options.ravdess, data.clips)
    jobs = (delayed(fold_of)(*fold) for fold in folds)
    made = list(each(jobs, len(folds), "folds", "fold", jobs=2))
    rows = pd.concat([*(pd.read_csv(path, dtype={"speaker": str}) for path in made), strangers(options.emodb)])
    compare.write(rows, RESULTS / "predictions.csv.gz")
    publish.note(RESULTS, looks, rows)


if __name__ == "__main__":
    main()
