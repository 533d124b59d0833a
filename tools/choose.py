"""Choose between models without a look at anybody's test speakers: python tools/choose.py cnn lstm my.module:Estimator

Every pair of test groups is predicted by models of all other speakers. For fold k, only what is said of other groups by
models that never met group k counts, so each fold's choice is blind to its own test. The first model is the one that
the others are measured against, speaker by speaker.
"""

import argparse
from itertools import combinations

import numpy as np
import pandas as pd

from ser_utils import compare, scores, splits, store


def blind(rows, fold, clips):
    """The rows that fold `fold` may choose by: of other groups, from models that met neither those nor its own."""
    groups = [set(clips["speaker"].iloc[split.test]) for split in splits.speaker_independent(clips)]
    pairs = list(combinations(range(len(groups)), 2))
    mine = rows[rows["fold"].isin([number for number, pair in enumerate(pairs) if fold in pair])]
    return mine[~mine["speaker"].isin(groups[fold])], len(groups)


def table(rows, clips, labels="emotion"):
    """A row a model: UAR by fold as that fold may see it, mean, and difference to the first model with its SE.

    Returns
    -------
    pd.DataFrame
        In per cent.
    """
    lines, by_speaker = {}, {}
    for model, part in rows.groupby("model", sort=False):
        folds = range(blind(part, 0, clips)[1])
        seen = [100 * scores.uar(scores.confusion(blind(part, fold, clips)[0], labels)) for fold in folds]
        by_speaker[model] = 100 * pd.Series({who: scores.uar(scores.confusion(one, labels))
                                             for who, one in part.groupby("speaker")})
        gain = by_speaker[model] - next(iter(by_speaker.values()))
        lines[model] = {**{f"fold {fold}": value for fold, value in zip(folds, seen, strict=True)},
                        "mean": np.mean(seen), "gain": gain.mean(), "SE": gain.std(ddof=1) / np.sqrt(len(gain))}
    return pd.DataFrame(lines).T.round(1)


def main():
    """Train what is not yet trained, print the table and each fold's choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    clips = store.load().clips
    units = compare.plan(options.model, ["nested"], seeds=options.seed, clips=clips)
    rows, _ = compare.run(units, jobs=options.jobs)
    shown = table(rows.sort_values("model", key=lambda names: names.map(options.model.index), kind="stable"), clips)
    print(shown.to_string())
    print("each fold's choice:", shown.filter(like="fold").idxmax().to_dict())


if __name__ == "__main__":
    main()
