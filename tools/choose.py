"""Choose between models without a look at anybody's test speakers: python tools/choose.py cnn lstm my.module:Estimator

Every pair of test groups is predicted by models of all other speakers. For fold k, only what is said of other groups by
models that never met group k counts, so each fold's choice is blind to its own test. The first model is the one that
the others are measured against, speaker by speaker.
"""

import argparse

import numpy as np
import pandas as pd

from ser_utils import compare, scores, splits, store


def blind(rows, group):
    """The rows to choose by for the fold that tests `group`: of others, from models that met neither those nor it.

    Parameters
    ----------
    rows : pd.DataFrame
        A predictions table of the nested protocol.
    group : set of str
        Speakers.
    """
    without = rows.groupby("fold")["speaker"].agg(lambda speakers: group <= set(speakers))
    return rows[rows["fold"].map(without) & ~rows["speaker"].isin(group)]


def table(rows, clips):
    """A row a model: UAR by fold as that fold may see it, mean, and gain over the first model by speaker, with its SE.

    Returns
    -------
    pd.DataFrame
        In per cent.
    """
    groups = {f"fold {split.fold}": set(clips["speaker"].iloc[split.test])
              for split in splits.speaker_independent(clips)}
    lines, by_speaker = {}, {}
    for model, part in rows.groupby("model", sort=False):
        seen = {fold: 100 * scores.uar(scores.confusion(blind(part, group))) for fold, group in groups.items()}
        by_speaker[model] = 100 * pd.Series({who: scores.uar(scores.confusion(one))
                                             for who, one in part.groupby("speaker")})
        gain = by_speaker[model] - next(iter(by_speaker.values()))
        lines[model] = {**seen, "mean": np.mean(list(seen.values())), "gain": gain.mean(), "SE": gain.sem()}
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
