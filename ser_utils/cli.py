"""Command line: ``ser {datasets,download,extract,evaluate,predict,audit}``, also ``python -m ser_utils``."""

import argparse
import errno
import io
import sys
import warnings
from pathlib import Path

from ser_utils import __version__
from ser_utils.datasets.core import CUSTOM, DATASETS, TARGETS, data_home, find_recordings

BUILD = Path("build")
CUSTOM_FORMAT = "a CSV with columns file and emotion, or a folder with one sub-folder per emotion"


def main(arguments=None):
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Command and options; by default those of ``sys.argv``.

    Returns
    -------
    int
        Exit status: 0, or 1 when files were skipped (``predict``, ``extract --strict``) or leakage was found
        (``audit``), 2 on an error, 130 when interrupted.

    Examples
    --------
    >>> main(["datasets"])  # doctest: +ELLIPSIS
    ravdess       RAVDESS speech: 1440 clips, 24 speakers, 8 emotions (neutral, calm, happy, ...
    0
    >>> from contextlib import redirect_stderr
    >>> with redirect_stderr(sys.stdout):
    ...     main(["evaluate", "--fold", "7"])
    error: fold 7 of speaker-independent does not exist; choose from [0, 1, 2, 3, 4]
    2
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without Unicode must not end the command
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return options.command(options)
        except (ValueError, OSError, RuntimeError) as error:
            is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            remedy = "; free disk space and run the command again: completed work is kept" if is_full else ""
            print(f"error: {error}{remedy}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted; completed runs of evaluate are kept", file=sys.stderr)
            return 130


def _show_warning(message, category, *_args, **_kwargs):
    print(f"warning: {message}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(prog="ser", description="Speech emotion recognition: datasets, MFCC features, "
                                     "speaker-independent evaluation and prediction.")
    parser.add_argument("--version", action="version", version=f"ser_utils {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (command, summary, examples, arguments) in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=summary, description=command.__doc__, epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter)
        subparser.set_defaults(command=command)
        for argument, settings in arguments.items():
            subparser.add_argument(argument, **settings)
    return parser


def _datasets(options):
    """List the supported datasets: size, emotions, licence, and the installed copy or how to obtain one."""
    for name, dataset in DATASETS.items():
        folder = data_home(name)
        n = sum(dataset.match(path) is not None for path in find_recordings(folder))
        installed = f"installed: {n} clips in {folder}" if n else f"not installed: {dataset.how_to_get}"
        print(f"{name:<13} {dataset.title}: {dataset.n_clips} clips, {dataset.n_speakers} speakers, "
              f"{len(dataset.emotions)} emotions ({', '.join(dataset.emotions)})\n"
              f"{'':<13} licence: {dataset.licence}; {dataset.homepage}\n{'':<13} {installed}\n")
    print(f"{CUSTOM:<13} your recordings: {CUSTOM_FORMAT}")
    return 0


def _download(options):
    """Download a dataset, verify its published checksum and unpack it."""
    from ser_utils.datasets.core import load_clips
    from ser_utils.datasets.download import download

    dataset = DATASETS[options.dataset]
    folder = download(dataset, options.folder)
    print(f"{len(load_clips(folder, dataset.name))} clips: {folder}\n"
          f"licence: {dataset.licence}; please cite {dataset.citation}")
    return 0


def _extract(options):
    """Trim silence, compute MFCCs and descriptors of all recordings, and store them. Existing features are reused."""
    from ser_utils.datasets.core import custom_name
    from ser_utils.features.extra_features import check_names
    from ser_utils.features.store import RAVDESS_FEATURES, extract_extra_features, extract_features, load_features

    check_names(options.features)
    name = custom_name(options.folder) if options.dataset == CUSTOM and options.folder else options.dataset
    out = Path(options.out or BUILD / "features" / name)
    workers = {"n_jobs": options.jobs, "scheduler": options.scheduler}
    if options.features and out.resolve() == RAVDESS_FEATURES:  # published results depend on its MFCCs
        features, errors = load_features(out), []
    else:
        features, errors = extract_features(options.folder, out, options.dataset, f0=not options.no_f0, **workers)
    if options.features:
        features = extract_extra_features(options.folder, out, options.features, options.dataset, **workers)
    for error in errors:
        print(f"skipped: {error}", file=sys.stderr)
    print(f"{len(features.clips)} clips of {features.clips['speaker'].nunique()} speakers, {len(features.frames)} "
          f"frames, {len(errors)} files skipped: {out}")
    return int(bool(errors) and options.strict)


def _evaluate(options):
    """Train each model on each fold and evaluate it on the validation speakers or, with --test, the test speakers."""
    import traceback

    import pandas as pd

    from ser_utils.evaluation import experiment, metrics, results, tables
    from ser_utils.features.store import RAVDESS_FEATURES, load_features

    features, folder = options.features or RAVDESS_FEATURES, Path(options.results or BUILD / "results")
    data, workers = load_features(features), {"n_jobs": options.jobs, "scheduler": options.scheduler}
    if options.model or not options.test:
        runs = experiment.plan_runs(options.model or results.MAIN_MODELS, options.split or ["speaker-independent"],
                                    options.target or "emotion", options.seed or [0], options.fold,
                                    "test" if options.test else "validation", data.clips)
    elif any(value is not None for value in (options.split, options.target, options.seed, options.fold)):
        raise ValueError("--test without --model evaluates all published runs; name the models with --model to choose "
                         "split, target, seed or fold")
    else:
        runs = results.published_runs(data)
    try:
        if options.test:
            predictions = results.evaluate_test(runs, features, folder, BUILD / "runs", **workers)
        else:
            predictions, histories = experiment.run_experiment(runs, features, BUILD / "runs", **workers)
    except experiment.RunError as error:  # raised by the code of a model: show where
        traceback.print_exception(error.__cause__)
        raise
    summary = pd.concat(map(metrics.summarize, predictions.values()), ignore_index=True)
    if options.test:
        print(f"{tables.to_markdown(summary)}\n\npredictions and log of this test-set evaluation: {folder}")
        return 0
    experiment.save_experiment(Path(options.out or BUILD / "experiment"), predictions, histories)
    published = results.RESULTS / results.corpus_name(data.clips)
    table, note = tables.format_comparison(
        summary, results.load_summary(published) if results.has_predictions(published) else None)
    print(f"{table.to_string(index=False)}\n\n{note}")
    return 0


def _predict(options):
    """Predict emotion and gender, with probabilities and warnings for unreliable input."""
    import json

    from ser_utils import audio
    from ser_utils.live import predictor, stream

    predictions, n_skipped = [], 0
    for file in options.file:
        try:
            if options.stream:
                for window in stream.predict_stream(file, options.model):
                    print(json.dumps({"file": file, **window}), flush=True)
            else:
                predictions.append(predictor.predict(file, model=options.model))
                if options.json:
                    print(json.dumps(predictions[-1]), flush=True)
        except audio.AudioError as error:
            print(f"skipped: {error}", file=sys.stderr)
            n_skipped += 1
    if predictions and not options.json:
        print(predictor.format_predictions(predictions))
    return int(n_skipped > 0)


def _audit(options):
    """Check a split for leakage: shared speakers and recordings, missing validation set, spurious correlations."""
    from ser_utils.evaluation import split_audit

    if len(options.table) > 3:
        raise ValueError(f"{len(options.table)} tables; give one with a column subset, or train, test and validation")
    clips = split_audit.load_subsets(options.table)
    findings = split_audit.audit_split(clips, n_jobs=options.jobs)
    print(split_audit.format_report(clips, findings))
    return int(any(finding.severity == "leak" for finding in findings))


JOBS = {"type": int, "default": -1, "metavar": "N", "help": "number of processes (default: all cores)"}
SCHEDULER = {"metavar": "ADDRESS", "help": "run on the workers of this Dask scheduler, such as tcp://host:8786"}
COMMANDS: dict[str, tuple] = {  # function, summary, examples, arguments
    "datasets": (_datasets, "list the supported datasets and where they are installed", "  ser datasets", {}),
    "download": (_download, "download a dataset", "  ser download ravdess\n  ser download emodb /data/emodb", {
        "dataset": {"choices": list(DATASETS), "metavar": "NAME", "help": f"one of {', '.join(DATASETS)}"},
        "folder": {"nargs": "?", "metavar": "FOLDER", "help": "default: data/raw/NAME"}}),
    "extract": (
        _extract, "compute the features of a dataset",
        "  ser extract /data/ravdess\n  ser extract my_clips.csv --dataset custom --no-f0\n"
        "  ser extract /data/ravdess --features egemaps --out data/ravdess", {
            "folder": {"nargs": "?", "metavar": "FOLDER",
                       "help": "folder of recordings, searched recursively (default: SER_DATA, else data/raw/NAME); "
                               f"with --dataset custom {CUSTOM_FORMAT}"},
            "--dataset": {"default": "ravdess", "choices": [*DATASETS, CUSTOM], "metavar": "NAME",
                          "help": f"one of {', '.join(DATASETS)}, {CUSTOM} (default: %(default)s)"},
            "--out": {"metavar": "DIR", "help": "default: build/features/NAME"},
            "--features": {"nargs": "+", "default": [], "metavar": "NAME",
                           "help": "add features: whisper (mean and SD of the hidden states of a pretrained encoder, "
                                   "4,096 per clip), whisper_distorted (the same after a random "
                                   "channel, for training), whisper_sequences (the hidden states), egemaps "
                                   "(eGeMAPSv02, 88) or compare (ComParE 2016, 6,373); the last two need pip install "
                                   "opensmile"},
            "--no-f0": {"action": "store_true",
                        "help": "omit the fundamental frequency, by far the slowest descriptor; no model uses it"},
            "--jobs": JOBS, "--scheduler": SCHEDULER,
            "--strict": {"action": "store_true", "help": "exit with status 1 if a file was skipped"}}),
    "evaluate": (
        _evaluate, "train models and evaluate them on unseen speakers",
        "  ser evaluate --model svm cnn\n  ser evaluate --model my_package.models:Classifier --fold 0\n"
        "  ser evaluate --features data/ravdess build/features/emodb --split cross-corpus --model cnn_robust --test", {
            "--model": {"nargs": "+", "metavar": "NAME",
                        "help": "chance, svm, svm_egemaps, svm_compare, original_cnn, mlp, lstm, cnn, tdnn, crnn, "
                                "cnn_attention, whisper_logreg, whisper_mlp, whisper_attention, whisper_robust, "
                                "cnn_robust, cnn_robust_gender, or a scikit-learn classifier package.module:Class "
                                "(default: mlp lstm cnn; with --test, all published runs)"},
            "--split": {"nargs": "+", "metavar": "NAME",
                        "help": "default: speaker-independent; an unknown name lists all splits"},
            "--target": {"choices": TARGETS, "help": "default: emotion"},
            "--seed": {"nargs": "+", "type": int, "metavar": "N", "help": "default: 0"},
            "--fold": {"nargs": "+", "type": int, "metavar": "N", "help": "default: all folds"},
            "--features": {"nargs": "+", "metavar": "DIR",
                           "help": "feature folders (default: data/ravdess); several for --split cross-corpus or "
                                   "leave-one-corpus-out"},
            "--out": {"metavar": "DIR", "help": "predictions on the validation sets (default: build/experiment)"},
            "--test": {"action": "store_true", "help": "evaluate on the test sets, and log it in test_access.csv"},
            "--results": {"metavar": "DIR", "help": "predictions on the test sets (default: build/results)"},
            "--jobs": JOBS, "--scheduler": SCHEDULER}),
    "predict": (
        _predict, "predict the emotion in recordings",
        "  ser predict recording.wav\n  ser predict --json --model mfcc *.flac\n"
        "  ser predict --stream interview.mp3 > windows.jsonl", {
            "file": {"nargs": "+", "metavar": "FILE", "help": "WAV, FLAC, OGG or MP3, 0.3 s to one hour"},
            "--model": {"default": "whisper", "choices": ["whisper", "mfcc"],
                        "help": "classifiers on the pretrained Whisper encoder, trained on five corpora (default), or "
                                "CNNs on MFCCs, trained on RAVDESS"},
            "--json": {"action": "store_true", "help": "print one JSON object per line and file"},
            "--stream": {"action": "store_true",
                         "help": "print one JSON object per line and window of 3 s, every 0.5 s; for files of any "
                                 "length"}}),
    "audit": (
        _audit, "check a train/test split for data leakage",
        "  ser audit train.csv test.csv\n  ser audit clips.csv   (with a column subset)", {
            "table": {"nargs": "+", "metavar": "CSV",
                      "help": "tables of training, test and optionally validation set, or one with a column subset; "
                              "columns file and emotion, speaker if known"},
            "--jobs": JOBS})}
