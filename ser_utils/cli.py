"""python -m ser_utils: fetch and extract corpora, compare models, report, audit splits, hear a voice."""

import argparse
import errno
import io
import sys
import traceback
import warnings
from pathlib import Path

from ser_utils import corpora

BUILD = Path("build")


def main(arguments=None):
    """Run one command. Returns the exit status: 0, 1 for files left out (extract: `--strict`) or a leak, 2 on error.

    >>> main(["corpora"])  # doctest: +ELLIPSIS
    ravdess       RAVDESS speech: 1440 clips, 24 speakers, 8 emotions (neutral, calm, happy, ...
    0
    >>> from contextlib import redirect_stderr
    >>> with redirect_stderr(sys.stdout):
    ...     main(["compare", "--fold", "7"])
    error: fold 7 of speaker-independent does not exist; choose from [0, 1, 2, 3, 4]
    2
    """
    options = _parser().parse_args(arguments)
    warnings.showwarning = _one_line
    if isinstance(sys.stdout, io.TextIOWrapper):  # as standard error does with what a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return options.run(options)
    except (ValueError, OSError, RuntimeError) as error:
        if type(error).__name__ == "UnitError":  # in a model's own code: show where
            traceback.print_exception(error.__cause__)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        print(f"error: {error}{'; make room and run it again: what is finished is kept' * full}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; units that compare has finished are kept", file=sys.stderr)
        return 130


def _one_line(message, category, *_args, **_kwargs):
    print(f"warning: {message}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m ser_utils", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_predict, _add_corpora, _add_extract, _add_compare, _add_report, _add_audit):
        add(commands)
    return parser


def _add_workers(command, scheduler=True):
    command.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    if scheduler:
        command.add_argument("--scheduler", metavar="ADDRESS",
                             help="a Dask scheduler's, tcp://host:8786, whose workers do the work instead")


def _add_predict(commands):
    predict = commands.add_parser("predict", help="the emotion in recordings", description=_predict.__doc__)
    predict.add_argument("file", nargs="+", metavar="FILE", help="WAV, FLAC, OGG or MP3, 0.3 s to an hour")
    predict.add_argument("--json", action="store_true", help="one JSON object a line, a line a file")
    predict.set_defaults(run=_predict)


def _add_corpora(commands):
    listed = commands.add_parser("corpora", help="the corpora known here, and which are installed",
                                 description=_corpora.__doc__)
    listed.set_defaults(run=_corpora)

    fetch = commands.add_parser("fetch", help="download a corpus", description=_fetch.__doc__)
    fetch.add_argument("corpus", choices=list(corpora.CORPORA))
    fetch.add_argument("folder", nargs="?", help="default: data/raw/CORPUS")
    fetch.set_defaults(run=_fetch)


def _add_audit(commands):
    audit = commands.add_parser("audit", help="what would flatter a score on somebody's split",
                                description=_audit.__doc__)
    audit.add_argument("table", nargs="+", metavar="CSV",
                       help="train, test and perhaps validation, or one with a column split; path and emotion in each, "
                            "speaker if you know it")
    _add_workers(audit, scheduler=False)
    audit.set_defaults(run=_audit)


def _add_extract(commands):
    extract = commands.add_parser("extract", help="recordings to features", description=_extract.__doc__)
    extract.add_argument("folder", nargs="?", metavar="FOLDER",
                         help="the recordings, nested as you like (default: SER_DATA, else data/raw/CORPUS); of your "
                              "own: a CSV with path and emotion, or a folder of a folder an emotion")
    extract.add_argument("--corpus", default="ravdess", choices=[*corpora.CORPORA, corpora.OWN],
                         help="default: %(default)s")
    extract.add_argument("--out", metavar="DIR", help="default: build/features/CORPUS, or the name of your own")
    extract.add_argument("--no-pitch", action="store_true", help="far quicker; only figures in the notebooks "
                         "01, 02 and 04 use pitch")
    _add_workers(extract)
    extract.add_argument("--strict", action="store_true", help="exit with 1 when a clip had to be left out")
    extract.set_defaults(run=_extract)


def _add_compare(commands):
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
    compare.add_argument("--features", nargs="+", metavar="DIR", help="default: the RAVDESS features that ship; of "
                         "several corpora for --protocol across")
    compare.add_argument("--out", metavar="DIR", help="where scores on validation speakers go (default: build/compare)")
    compare.add_argument("--publish", action="store_true",
                         help="read the test folds: a deliberate step, recorded in looks.csv beside the predictions")
    compare.add_argument("--results", metavar="DIR", help="where published rows go (default: build/results)")
    _add_workers(compare)
    compare.set_defaults(run=_compare)


def _add_report(commands):
    report = commands.add_parser("report", help="the published comparison, as text or JSON",
                                 description=_report.__doc__)
    report.add_argument("--json", action="store_true", help="every figure, for programs")
    report.add_argument("--results", metavar="DIR", help="default: results/ravdess, which ships")
    report.set_defaults(run=_report)


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


def _corpora(options):
    """Every corpus that can be read by its name, with its licence, where it is to be had, and what is here of it."""
    for name, known in corpora.CORPORA.items():
        folder = corpora.folder_of(name)
        here = sum(known.match(path) is not None for path in corpora.recordings(folder))
        print(f"{name:<13} {known.title}: {known.clips} clips, {known.speakers} speakers, "
              f"{len(known.emotions)} emotions ({', '.join(known.emotions)})\n"
              f"{'':<13} licence: {known.licence}; {known.source}\n"
              f"{'':<13} {f'{here} clips in {folder}' if here else f'not here: {known.get}'}\n")
    print(f"{corpora.OWN:<13} your own recordings: a CSV with path and emotion, or a folder of a folder an emotion")
    return 0


def _fetch(options):
    """Download a corpus, check it against the published checksum and unpack it; or say how it is to be had."""
    from ser_utils import fetch

    known = corpora.CORPORA[options.corpus]
    folder = fetch.fetch(known, options.folder)
    print(f"{len(corpora.read(folder, known.name))} clips: {folder}\nLicence: {known.licence}. Cite: {known.citation}.")
    return 0


def _audit(options):
    """Look through a split for what would flatter a score: voices and recordings on both sides, and what gives away."""
    from ser_utils import audit

    if len(options.table) > 3:
        raise ValueError(f"{len(options.table)} tables; give one with a column split, or train, test and validation")
    rows = audit.read(options.table)
    findings = audit.audit(rows, jobs=options.jobs)
    print(audit.text(rows, findings))
    return int(any(finding.kind == "leak" for finding in findings))


def _extract(options):
    """Read recordings, cut their silence, write MFCCs and descriptors. A second run reads what the first wrote."""
    from ser_utils import own, store

    name = own.name(options.folder) if options.corpus == corpora.OWN and options.folder else options.corpus
    out = Path(options.out or BUILD / "features" / name)
    made, errors = store.extract(options.folder, out, options.corpus, pitch=not options.no_pitch, jobs=options.jobs,
                                 scheduler=options.scheduler)
    for error in errors:
        print(f"left out: {error}", file=sys.stderr)
    print(f"{len(made.clips)} clips of {made.clips['speaker'].nunique()} speakers, {len(made.frames)} frames, "
          f"{len(errors)} clips left out: {out}")
    return int(bool(errors) and options.strict)


def _compare(options):
    """Train each model on each fold and score it on validation speakers, or, with --publish, on the test speakers."""
    from ser_utils import compare, publish, report, scores, store

    features = options.features or store.SHIPPED
    clips, units = store.load(features).clips, _units(options, features)
    print(report.synthetic(clips), end="")
    if options.publish:
        results = Path(options.results or BUILD / "results")
        rows = publish.look(units, features, results, BUILD / "units", jobs=options.jobs, scheduler=options.scheduler)
        print(report.markdown(scores.summary(rows)))
        print(f"\npredictions and the trace of this look: {results}")
        return 0
    rows, histories = compare.run(units, features, BUILD / "units", jobs=options.jobs, scheduler=options.scheduler)
    compare.keep(Path(options.out or BUILD / "compare"), rows, histories, report.synthetic(clips).strip())
    results = publish.PUBLISHED / publish.name(clips)
    published = scores.summary(publish.load(results)) if publish.exists(results) else None
    print(report.beside(scores.summary(rows), published))
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
