"""Train and evaluate every published run of the available corpora, and list the missing corpora.

    python scripts/reproduce_results.py

Features are read from data/ravdess and build/features/<corpus>. Predictions are written to build/results/<corpus>; runs
are cached in build/runs, so an interrupted command resumes.
"""

import argparse
import sys
from pathlib import Path

from ser_utils.cli import main as ser
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation.results import MULTI_CORPUS, RESULTS
from ser_utils.features.store import RAVDESS_FEATURES

FEATURES = Path("build/features")
CUSTOM_CORPORA = {"casia": "see docs/guide/own_corpus.md, then ser extract casia.csv --dataset custom --no-f0"}


def find_features():
    """Find the feature folders of the corpora with published results.

    Returns
    -------
    available : dict of str to Path
        Folder by corpus.
    missing : dict of str to str
        How to obtain the features of each other corpus.
    """
    available, missing = {"ravdess": RAVDESS_FEATURES}, {}
    for name in sorted((DATASETS.keys() | CUSTOM_CORPORA) - available.keys()):
        if (FEATURES / name / "features.npz").is_file():
            available[name] = FEATURES / name
        elif name in CUSTOM_CORPORA:
            missing[name] = CUSTOM_CORPORA[name]
        else:
            missing[name] = f"{DATASETS[name].how_to_get}, then ser extract --dataset {name} --no-f0"
    return available, missing


def main():
    """Evaluate each corpus with published results, then all corpora together."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    available, missing = find_features()
    for name, remedy in missing.items():
        print(f"missing: {name}: {remedy}")
    if missing:
        print("Results of several corpora are comparable with the published ones only if no corpus is missing.")
    experiments = {path.parent.name: path for path in sorted(RESULTS.glob("*/experiments.csv"))}
    status = 0
    for name in experiments:
        folders = list(available.values()) if name == MULTI_CORPUS else [available[name]] if name in available else []
        if len(folders) > (name == MULTI_CORPUS):
            print(f"\n{name}: {len(folders)} feature folder{'s' * (len(folders) > 1)}", flush=True)
            status |= ser(["evaluate", "--test", "--features", *map(str, folders), "--results",
                           f"build/results/{name}"])
    return status


if __name__ == "__main__":
    sys.exit(main())
