"""python -m ser_utils: extract features, compare models, report."""

import argparse
import sys
import traceback
import warnings
from pathlib import Path

from ser_utils import corpora

BUILD = Path("build")


def main(arguments=None):
    """Run one command. Returns the exit status: 0, 1 when files were left out (extract: `--strict`), 2 on error."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = _one_line
    try:
        return options.run(options)
    except (ValueError, OSError, RuntimeError) as error:
        if type(error).__name__ == "UnitError":  # in a model's own code: show where
            traceback.print_exception(error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what compare has finished is kept, and it goes on from there", file=sys.stderr)
        return 130


def _one_line(message, category, *_args, **_kwargs):
    print(f"warning: {message}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m ser_utils", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="the emotion in recordings", description=_predict.__doc__)
    predict.add_argument("file", nargs="+", metavar="FILE", help="WAV, FLAC, OGG or MP3, 0.3 s to an hour")
    predict.add_argument("--json", action="store_true", help="one JSON object a line, a line a file")
    predict.set_defaults(run=_predict)

    extract = commands.add_parser("extract", help="recordings to features", description=_extract.__doc__)
    extract.add_argument("folder", nargs="?", metavar="FOLDER",
                         help="the recordings, nested as you like (default: SER_DATA, else data/raw/CORPUS)")
    extract.add_argument("--corpus", default="ravdess", choices=list(corpora.CORPORA), help="default: %(default)s")
    extract.add_argument("--out", metavar="DIR", help="default: build/features/CORPUS")
    extract.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    extract.add_argument("--strict", action="store_true", help="exit with 1 when a clip had to be left out")
    extract.set_defaults(run=_extract)

    compare = commands.add_parser("compare", help="train models and score them on speakers they never heard",
                                  description=_compare.__doc__)
    compare.add_argument("--model", nargs="+", metavar="NAME",
                         help="chance, svm, original_cnn, mlp, lstm, cnn, or your own as package.module:Estimator "
                              "(default: mlp lstm cnn; with --publish, every published row)")
    compare.add_argument("--protocol", nargs="+", metavar="NAME",
                         help="default: speaker-independent; nested is for choosing; one that is unknown names all")
    compare.add_argument("--labels", choices=corpora.LABELS,
                         help="emotion, the ten codes of gender and emotion, or gender (default: emotion)")
    compare.add_argument("--seed", nargs="+", type=int, metavar="N", help="default: 0")
    compare.add_argument("--fold", nargs="+", type=int, metavar="N", help="default: every fold")
    compare.add_argument("--features", metavar="DIR", help="default: the RAVDESS features that ship")
    compare.add_argument("--out", metavar="DIR", help="where scores on validation speakers go (default: build/compare)")
    compare.add_argument("--publish", action="store_true",
                         help="read the test folds: a deliberate step, recorded in looks.csv beside the predictions")
    compare.add_argument("--results", metavar="DIR", help="where published rows go (default: build/results)")
    compare.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    compare.set_defaults(run=_compare)

    report = commands.add_parser("report", help="the published comparison, as text or JSON",
                                 description=_report.__doc__)
    report.add_argument("--json", action="store_true", help="every figure, for programs")
    report.add_argument("--results", metavar="DIR", help="default: results/ravdess, which ships")
    report.set_defaults(run=_report)
    return parser


def _predict(options):
    """Say which emotion a voice shows, how surely, and what speaks against trusting the answer."""
    import json

    from ser_utils import audio, live

    answers = []
    for file in options.file:
        try:
            answers.append(live.predict(file))
        except audio.AudioError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            if options.json:
                print(json.dumps(answers[-1]), flush=True)
    if answers and not options.json:
        print(live.table(answers))
    return int(len(answers) < len(options.file))


def _extract(options):
    """Read recordings, cut their silence, write MFCCs and descriptors. A second run reads what the first wrote."""
    from ser_utils import store

    out = Path(options.out or BUILD / "features" / options.corpus)
    made, errors = store.extract(options.folder, out, options.corpus, jobs=options.jobs)
    for error in errors:
        print(f"left out: {error}", file=sys.stderr)
    print(f"{len(made.clips)} clips of {made.clips['speaker'].nunique()} speakers, {len(made.frames)} frames, "
          f"{len(errors)} clips left out: {out}")
    return int(bool(errors) and options.strict)


def _compare(options):
    """Train each model on each fold and score it on validation speakers, or, with --publish, on the test speakers."""
    from ser_utils import compare, publish, report, scores, store

    features = Path(options.features or store.SHIPPED)
    clips, units = store.load(features).clips, _units(options, features)
    print(report.synthetic(clips), end="")
    if options.publish:
        results = Path(options.results or BUILD / "results")
        rows = publish.look(units, features, results, BUILD / "units", jobs=options.jobs)
        print(report.markdown(scores.summary(rows)))
        print(f"\npredictions and the trace of this look: {results}")
        return 0
    rows, histories = compare.run(units, features, BUILD / "units", jobs=options.jobs)
    compare.keep(Path(options.out or BUILD / "compare"), rows, histories, report.synthetic(clips).strip())
    published = scores.summary(publish.load()) if not report.synthetic(clips) and publish.exists() else None
    print(report.beside(scores.summary(rows), published))
    print("\nUAR and accuracy in %, on validation clips; published: on test clips, having learned the validation ones.")
    return 0


def _units(options, features):
    from ser_utils import compare, publish, store

    clips = store.load(features).clips
    chosen = [options.protocol, options.labels, options.seed, options.fold]
    if options.publish and not options.model:
        if any(value is not None for value in chosen):
            raise ValueError("--publish without --model makes every published row; name the models with --model to "
                             "choose protocol, labels, seeds or folds")
        return publish.everything(clips)
    return compare.plan(options.model or publish.LEARNED, options.protocol or ["speaker-independent"],
                        options.labels or "emotion", options.seed or [0], options.fold,
                        "test" if options.publish else "validation", clips)


def _report(options):
    """The result tables, computed from the predictions."""
    from ser_utils import publish, report, scores

    results = Path(options.results or publish.PUBLISHED / "ravdess")
    summary = scores.summary(publish.load(results))
    print(summary.to_json(orient="records", indent=1) if options.json else report.markdown(summary))
    return 0
