"""Tables and sentences of the documents, computed from published results, model metadata and measurements.

Each function returns the Markdown between one pair of markers; scripts/update_documents.py inserts it.
"""

import json
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from ser_utils import distortions
from ser_utils._utils.files import ROOT
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation import results, tables
from ser_utils.evaluation.metrics import (
    MIN_SPEAKERS,
    bootstrap_ci,
    compare_models,
    confusion_matrix,
    expected_calibration_error,
    get_class_names,
    get_predicted_labels,
    recall_per_class,
    summarize,
)
from ser_utils.evaluation.results import MAIN_MODELS, MULTI_CORPUS, RESULTS
from ser_utils.evaluation.splits import RAVDESS_TEST_ACTORS, RAVDESS_VALIDATION_ACTORS
from ser_utils.evaluation.tables import FOUR_EMOTIONS, format_markdown_table, format_percent, get_headings
from ser_utils.features.spectral import FeatureConfig
from ser_utils.models import augment
from ser_utils.models.registry import ABLATIONS, DEPLOYED, N_MFCC, get_model

load_predictions, load_summary = cache(results.load_predictions), cache(results.load_summary)  # read by many functions
CORPUS_TITLES = {"ravdess": "RAVDESS", "emodb": "EMO-DB", "crema-d": "CREMA-D"}
OVERVIEW_MODELS = ("chance", "original_cnn", "svm", "svm_egemaps", "svm_compare", *MAIN_MODELS, "tdnn", "crnn",
                   "cnn_attention", "ensemble", "ensemble_weighted", "cnn_robust", "cnn_robust_gender")
NETWORK_MODELS = ("mlp", "lstm", "cnn", "tdnn", "crnn", "cnn_attention", "cnn_robust", "cnn_robust_gender",
                  "original_cnn", "whisper_mlp", "whisper_attention")
OVERVIEW_SPLITS = {"speaker-independent": "unseen speakers", "random-split": "random split"}
OVERVIEW_TARGETS = {"emotion": "{} emotions", "gender_emotion": "{} classes", "gender": "gender"}
HEADLINE = {"split": "speaker-independent", "target": "emotion"}
DESCRIPTIONS = {  # of the models of the README: input, classifier
    "original_cnn": ("mean MFCC per frame", "CNN of the original project, rebuilt"),
    "lstm": ("MFCC", "bidirectional LSTM"),
    "mlp": ("functionals of the MFCCs", "two dense layers"),
    "svm": ("functionals of the MFCCs", "SVM with RBF kernel"),
    "svm_egemaps": ("eGeMAPS functionals", "SVM with RBF kernel"),
    "cnn": ("MFCC", "four convolutional blocks over time"),
    "svm_compare": ("ComParE 2016 functionals", "SVM with RBF kernel"),
    "crnn": ("MFCC", "convolutions and LSTM, augmented"),
    "tdnn": ("MFCC", "time-delay neural network, augmented"),
    "cnn_attention": ("MFCC", "CNN with attentive statistics pooling, augmented"),
    "cnn_robust": ("MFCC", "the same with simulated recording channels"),
    "ensemble_weighted": ("MFCC and functionals", "weighted logarithmic opinion pool"),
    "whisper_logreg": ("encoder of Whisper-base, pretrained", "logistic regression"),
    "fusion": ("MFCC, functionals and the encoder", "weighted logarithmic opinion pool")}
OPEN_SPLIT, RAVDESS_SPLIT = "leave-one-corpus-out-open", "speaker-independent-multi-corpus"
WHISPER_MODEL = DEPLOYED["whisper"]["emotion"]


def select(table, **values):
    """Rows of a table whose columns have the given values."""
    return table[(table[list(values)] == list(values.values())).all(axis=1)]


def read_json(path):
    """Read a JSON file, given relative to the repository."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


# README.md, docs/methods.md

def get_uar(summary, split, model="cnn_attention"):
    """UAR of a model over the emotions of one split, in per cent."""
    return format_percent(select(summary, split=split, target="emotion", model=model)["uar"].item())


def leakage(summary):
    """Sentence on the first figure."""
    return ("With equally many training clips, the CNN with attention reaches "
            f"{get_uar(summary, 'size-matched-random')} % UAR under a random split, "
            f"{get_uar(summary, 'size-matched-repetitions')} % with the repetitions of an utterance kept together, and "
            f"{get_uar(summary, 'size-matched-speakers')} % on unseen speakers.")


def headline(summary):
    """Table of all models on unseen speakers."""
    rows = select(summary, **HEADLINE).sort_values("uar")
    rows = rows[rows["model"].isin(DESCRIPTIONS)]
    return format_markdown_table(pd.DataFrame([{
        "model": f"`{row.model}`", "UAR": format_percent(row.uar),
        "95 % CI": f"{format_percent(row.ci_low)}–{format_percent(row.ci_high)}",
        "accuracy": format_percent(row.accuracy), "SD over seeds": format_percent(row.sd_seeds),
        "seeds": str(row.n_seeds), "input": DESCRIPTIONS[row.model][0], "classifier": DESCRIPTIONS[row.model][1]}
        for row in rows.itertuples()])).replace("---:|---:|\n", ":---|:---|\n", 1)


def overview(summaries):
    """UAR of each model (rows) under each protocol (columns), and the chance level."""
    columns = {}
    for corpus, summary in summaries.items():
        for split, test_corpus, target in get_headings(summary):
            rows = select(summary, split=split, test_corpus=test_corpus, target=target).set_index("model")
            chance = rows["chance"].iloc[0]
            title = (f"{CORPUS_TITLES[corpus]}, {OVERVIEW_SPLITS.get(split, split)}, "
                     + OVERVIEW_TARGETS[target].format(round(1 / chance)))
            columns[title] = pd.concat([pd.Series({"chance level": chance}), rows["uar"]]).map(format_percent)
    table = pd.DataFrame(columns).reindex(["chance level", *OVERVIEW_MODELS]).fillna("–")
    return format_markdown_table(table.reset_index(names="model"))


def format_matrix(matrix, digits=1):
    """Format a table of numbers with its index as Markdown; NaN is a dash."""
    text = matrix.map(lambda value: "–" if pd.isna(value) else f"{value:.{digits}f}")
    return format_markdown_table(text.rename_axis(columns=None).reset_index().astype(str))


def several_corpora():
    """Tables of cross-corpus and leave-one-corpus-out evaluation and of the learning curve."""
    four, shared = load_summary(MULTI_CORPUS, FOUR_EMOTIONS), load_summary(MULTI_CORPUS)
    names = ", ".join(FOUR_EMOTIONS)
    blocks = []
    for model in sorted(select(four, split="cross-corpus")["model"].unique()):
        blocks += [f"**Cross-corpus matrix of `{model}`: UAR (%) over {names}, chance 25 %; a row per training corpus, "
                   "a column per test corpus**", format_matrix(tables.cross_corpus_matrix(four, model))]
    blocks += [f"**Leave-one-corpus-out, UAR (%) over {names}, chance 25 %**",
               format_matrix(tables.leave_one_corpus_out_table(four)),
               "**Leave-one-corpus-out, UAR (%) over all emotions that the test and the training corpora share**",
               format_matrix(_with_chance(tables.leave_one_corpus_out_table(shared), shared)),
               "**Leave-one-corpus-out, accuracy of gender (%)**",
               format_matrix(tables.leave_one_corpus_out_table(shared, "accuracy", "gender")),
               "**Trained only on corpora whose licences permit derivative models (split "
               f"`{OPEN_SPLIT}`): UAR (%) over {names} and over all shared emotions, accuracy of gender (%)**",
               format_matrix(pd.concat([
                   tables.leave_one_corpus_out_table(four, split=OPEN_SPLIT).add_suffix(", four emotions"),
                   tables.leave_one_corpus_out_table(shared, split=OPEN_SPLIT).add_suffix(", shared emotions"),
                   tables.leave_one_corpus_out_table(shared, "accuracy", "gender", OPEN_SPLIT).add_suffix(", gender")],
                   axis=1))]
    is_curve = four["split"].str.startswith("train-")
    for model in sorted(four.loc[is_curve, "model"].unique()):
        blocks += [f"**Learning curve of `{model}`: UAR (%) over {names} by number of training speakers, drawn from "
                   "six corpora with at most 30 clips each**", format_matrix(tables.learning_curve_table(four, model))]
    return "\n\n".join(blocks)


def _with_chance(table, summary):
    rows = select(summary, split="leave-one-corpus-out", target="emotion").drop_duplicates("test_corpus")
    chance = rows.set_index(rows["test_corpus"].map(tables.corpus_title))["chance"]
    return table.assign(chance=100 * chance.reindex(table.index))


def ablations():
    """Tables of the steps from the plain CNN and LSTM to the strong ones."""
    rows = select(load_predictions("ravdess"), **HEADLINE)
    return "\n\n".join(format_markdown_table(tables.ablation_table(rows, base, last))
                       for base, last in (("cnn", "cnn_attention"), ("lstm", "crnn")))


def whisper_layers():
    """Table of the UAR of `whisper_logreg` in model selection by layers of the encoder and regularization."""
    table = pd.read_csv(RESULTS / "ravdess" / "whisper_layers.csv")
    table = table.pivot_table("mean", "layers", "C", sort=False).add_prefix("C = ")
    return format_matrix(table.rename(index=lambda names: names.replace(" ", ", ")))


def frame_settings():
    """Table of the validation UAR by window and hop length."""
    table = pd.read_csv(RESULTS / "ravdess" / "frame_settings.csv")
    table["uar"] *= 100
    uar = table.groupby(["window_ms", "hop_ms"])["uar"].agg(["mean", "min", "max"])
    return format_markdown_table(pd.DataFrame([
        {"window (ms)": f"{window}", "hop (ms)": f"{hop}", "mean UAR": f"{row['mean']:.1f}",
         "range over folds": f"{row['min']:.1f}–{row['max']:.1f}"} for (window, hop), row in uar.iterrows()]))


def svm_calibration():
    """UAR, calibration error and confidence of the SVM with temperature scaling and with Platt scaling, in words."""
    texts = []
    for model, calibration in (("svm", "temperature scaling"), ("svm+sigmoid", "Platt scaling")):
        rows = select(load_predictions("ravdess"), model=model, **HEADLINE)
        names = get_class_names(rows)
        p = rows[[f"p_{name}" for name in names]].to_numpy()
        error = expected_calibration_error(p, rows["label"].map(names.index).to_numpy())
        quartiles = "–".join(map(format_percent, np.quantile(p.max(axis=1), [0.25, 0.75])))
        texts.append(f"{recall_row(rows)['UAR']} % UAR, an expected calibration error (ten bins) of "
                     f"{format_percent(error)} % and an interquartile range of the confidence of {quartiles} % with "
                     f"{calibration}")
    return " and ".join(texts)


def f0_control():
    """Table of F0 and UAR of `cnn_attention` on resynthesized clips, and of differences from unchanged F0."""
    rows = load_predictions("f0_control")
    f0 = pd.read_csv(RESULTS / "f0_control" / "f0.csv").groupby("condition", sort=False).median(numeric_only=True)
    table = []
    for condition, (median, sd) in f0[["f0_median", "f0_sd_semitones"]].iterrows():
        part = select(rows, condition=condition)
        mean, low, high = (100 * value for value in compare_models(
            rows.assign(model=rows["condition"]), condition, "resynthesized"))
        table.append({
            "condition": condition, "median F0 (Hz)": f"{median:.0f}", "SD of F0 (semitones)": f"{sd:.1f}",
            "UAR": recall_row(part)["UAR"], "95 % CI": format_ci(part),
            "difference": "–" if condition == "resynthesized" else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"})
    return format_markdown_table(pd.DataFrame(table))


def f0_finding():
    """Effect of a constant F0 on the UAR of `cnn_attention` and on the recall that it lowers most, in words."""
    rows = load_predictions("f0_control")
    mean, low, high = (-100 * value for value in compare_models(
        rows.assign(model=rows["condition"]), "flat F0", "resynthesized"))
    control, flat = (pd.Series(100 * recall_per_class(confusion_matrix(part)), get_class_names(part))
                     for part in (select(rows, condition=condition) for condition in ("resynthesized", "flat F0")))
    name = (flat - control).idxmin()
    return (f"A constant F0 lowers its UAR by {mean:.1f} points (95 % CI {high:.1f}–{low:.1f}), and the recall of "
            f"{name} clips from {control[name]:.1f} to {flat[name]:.1f} %")


def f0_agreement():
    """Share of original clips that the networks of the F0 control and the published ones classify equally."""
    original = select(load_predictions("f0_control"), condition="original")
    published = select(load_predictions("ravdess"), model="cnn_attention", seed=0, **HEADLINE)
    predicted, expected = (pd.Series(get_predicted_labels(rows), rows["clip"].to_numpy()).sort_index()
                           for rows in (original.reset_index(drop=True), published.reset_index(drop=True)))
    return f"{format_percent((predicted.to_numpy() == expected.to_numpy()).mean())} %"


def comparisons():
    """Table of differences in UAR between pairs of models on unseen speakers of RAVDESS."""
    rows = select(load_predictions("ravdess"), **HEADLINE)
    pairs = [("cnn", "svm"), ("cnn", "mlp"), ("cnn", "lstm"), ("svm_compare", "svm"), ("cnn_attention", "cnn"),
             ("cnn_attention", "svm_compare"), ("ensemble_weighted", "cnn_attention")]
    differences = [[100 * value for value in compare_models(rows, *pair)] for pair in pairs]
    return format_markdown_table(pd.DataFrame([
        {"models": f"{model} − {baseline}", "difference in UAR": f"{mean:+.1f}",
         "95 % CI": f"{low:+.1f} to {high:+.1f}"}
        for (model, baseline), (mean, low, high) in zip(pairs, differences, strict=True)]))


def models():
    """Table of parameters, training time and number of tuning trials of each model."""
    selection = pd.read_csv(RESULTS / "ravdess" / "model_selection.csv")["model"].value_counts()
    records = {record["model"]: record for record in read_json("results/ravdess/run_metadata.json")
               if record["split"] == "speaker-independent" and record["target"] == "emotion"}
    return format_markdown_table(pd.DataFrame([{
        "model": name, "parameters": f"{record['n_parameters']:,}" if "n_parameters" in record else "–",
        "training per fold": format_duration(60 * record["core_minutes"] / record["n_runs"]),
        "tuning trials": str(selection.get(name, 0))}
        for name in OVERVIEW_MODELS if (record := records.get(name))]))


def is_repeated(rows):
    """Mark logged evaluations that repeat an earlier one of the model: same UAR, or further seeds of it."""
    repeated, seen = [], []
    for seeds, uar in zip(rows["seeds"].str.split().map(set), rows["uar"], strict=True):
        repeated.append(any(uar == other or seeds.isdisjoint(others) for others, other in seen))
        seen.append((seeds, uar))
    return np.array(repeated, bool)


def interval_widths():
    """Say by how much a percentile interval of a mean is narrower than the t interval, for some numbers of speakers."""
    widths = {n: np.sqrt((n - 1) / n) * stats.norm.ppf(0.975) / stats.t.ppf(0.975, n - 1) for n in (24, 10, 9, 6)}
    return "too narrow by about " + ", ".join(f"{100 * (1 - width):.0f} % for {n}" for n, width in widths.items())


def whisper_trials():
    """Count the compared configurations of each Whisper model."""
    n_combinations = len(pd.read_csv(RESULTS / "ravdess" / "whisper_layers.csv"))
    trials = pd.concat([pd.read_csv(RESULTS / "ravdess" / "model_selection.csv")[["model", "description"]],
                        pd.read_csv(RESULTS / MULTI_CORPUS / "model_selection.csv").rename(
                            columns={"configuration": "description"})[["model", "description"]]])
    counts = trials.drop_duplicates()["model"].value_counts()  # the selected one of whisper_logreg is in both
    return (f"`whisper_logreg` {n_combinations} combinations of layers and C and "
            f"{counts['whisper_logreg'] - 1} further; "
            + ", ".join(f"`{name}` {counts[name]}" for name in ("whisper_mlp", "whisper_attention", "whisper_robust")))


def test_access():
    """Table of the test-set evaluations of each model on unseen speakers of RAVDESS (emotion), from the log."""
    log = select(pd.read_csv(RESULTS / "ravdess" / "test_access.csv", dtype={"seeds": str}), **HEADLINE)
    published = select(load_summary("ravdess"), **HEADLINE).set_index("model")["uar"]
    is_ablation, rows = log["model"].isin(ABLATIONS), []
    for model in dict.fromkeys([*DESCRIPTIONS, *log.loc[~is_ablation, "model"]]):
        finished = select(log, model=model).dropna(subset="uar")
        distinct = finished[~is_repeated(finished)]
        if len(distinct):
            uar = list(map(format_percent, distinct["uar"]))
            uar[-1:] = [format_percent(published[model])] if model in published else [*uar[-1:], "not published"]
            rows.append((f"`{model}`", distinct, " → ".join(uar)))
    rows.append((f"{log.loc[is_ablation, 'model'].nunique() - 1} ablation configurations and `svm+sigmoid`",
                 log[is_ablation], "see text"))
    return format_markdown_table(pd.DataFrame([{
        "model": title, "evaluations": str(len(distinct)), "dates": ", ".join(distinct["date"].str[:10].unique()),
        "UAR of each evaluation": uar} for title, distinct, uar in rows]))


def recall_row(rows):
    """Recall of each class that occurs, and the UAR, in per cent."""
    recalls = pd.Series(recall_per_class(confusion_matrix(rows)), get_class_names(rows)).dropna()
    return pd.concat([recalls, pd.Series({"UAR": summarize(rows)["uar"].item()})]).map(format_percent)


def format_ci(rows):
    """95 % confidence interval of the UAR in per cent."""
    return "–".join(map(format_percent, bootstrap_ci(rows)))


def format_uar(rows):
    """UAR in per cent, with its interval if there are enough speakers."""
    interval = f" ({format_ci(rows)})" if rows["speaker"].nunique() >= MIN_SPEAKERS else ""
    return f"{recall_row(rows)['UAR']}{interval}"


def original_project():
    """Accuracy and UAR over ten classes of the original project, from the counts in its published predictions."""
    counts = pd.read_csv(RESULTS / "original_project.csv")
    accuracy, uar = counts["correct"].sum() / counts["clips"].sum(), (counts["correct"] / counts["clips"]).mean()
    return f"{format_percent(accuracy)} % accuracy and {format_percent(uar)} % UAR"


def deployed_selection():
    """Table of the configurations compared for the deployed Whisper model."""
    table = pd.read_csv(RESULTS / MULTI_CORPUS / "model_selection.csv").drop(columns="model")
    scores = [name for name in table if name.startswith("uar_")]
    table[scores] = (100 * table[scores]).map(lambda value: "–" if pd.isna(value) else f"{value:.1f}")
    return format_markdown_table(table.rename(columns={
        "uar_held_out": "held-out corpora", "uar_held_out_adapted": "held-out corpora, adapted",
        "uar_ravdess_validation": "RAVDESS", "uar_ravdess_validation_adapted": "RAVDESS, adapted"}))


def fusion_scores():
    """UAR of `fusion` at each of its test-set evaluations on RAVDESS, in per cent."""
    log = select(pd.read_csv(RESULTS / "ravdess" / "test_access.csv"), model="fusion", **HEADLINE)
    return " and ".join(format_percent(uar) for uar in log["uar"])


# docs/methods.md: settings

def folds():
    """Table of the test and validation actors of each fold of RAVDESS."""
    return left_align(format_markdown_table(pd.DataFrame([
        {"fold": str(fold), "test actors": ", ".join(map(str, test)),
         "validation actors": ", ".join(map(str, validation))}
        for fold, (test, validation) in enumerate(zip(RAVDESS_TEST_ACTORS, RAVDESS_VALIDATION_ACTORS, strict=True))])))


def feature_settings():
    """Table of the parameters of the MFCC extraction."""
    config = FeatureConfig()
    rows = {"sampling rate": f"{config.sr / 1000:g} kHz, mono (mean of the channels)",
            "silence at both ends": f"trimmed {config.trim_db:g} dB below the loudest frame (frames of 128 ms every "
                                    "32 ms)",
            "window": f"periodic Hann, {config.n_fft:,} samples ({1000 * config.n_fft / config.sr:g} ms), centered, "
                      "zero padding at both ends",
            "hop": f"{config.hop_length} samples ({1000 * config.hop_length / config.sr:g} ms)",
            "mel bands": f"{config.n_mels} triangular filters of equal area from {config.fmin:g} Hz to "
                         f"{config.sr / 2000:g} kHz, Slaney's mel scale",
            "power": f"power in dB, limited to {config.top_db:g} dB below the maximum of the clip",
            "coefficients": f"orthonormal DCT-II; {config.n_mfcc} stored, the first {N_MFCC} are the input of the "
                            "models",
            "delta coefficients": "slope of a linear regression over nine frames (144 ms)"}
    return left_align(format_markdown_table(pd.DataFrame(rows.items(), columns=["parameter", "value"])))


def _group_models(settings):
    """Join the rows of models with equal settings."""
    groups = {}
    for name, row in settings.items():
        groups.setdefault(tuple(row.items()), []).append(f"`{name}`")
    return left_align(format_markdown_table(pd.DataFrame(
        [{"model": ", ".join(names), **dict(row)} for row, names in groups.items()])))


def training_settings():
    """Table of the optimization of each network."""
    settings = {}
    for name in NETWORK_MODELS:
        params = get_model(name).build(0).get_params()
        settings[name] = {
            "epochs": str(params["epochs"]), "step limit": f"{params['max_steps']:,}" if params["max_steps"] else "–",
            "batch size": str(params["batch_size"]), "crop (frames)": str(params["crop_frames"]),
            "optimizer": {"adamw": "AdamW", "rmsprop": "RMSprop"}[params["optimizer"]],
            "peak learning rate": f"{params['learning_rate']:g}",
            "weight decay": f"{params['weight_decay']:g}" if params["optimizer"] == "adamw" else "–",
            "label smoothing": f"{params['label_smoothing']:g}"}
    return _group_models(settings)


def augmentation_settings():
    """Table of the augmentation in training and at test time of each network."""
    settings = {}
    for name in NETWORK_MODELS:
        params = get_model(name).build(0).get_params()
        one, warps = params["augment"], params["tta_warps"]
        values = (one.max_log_tempo and f"$e^{{\\pm {one.max_log_tempo:g}}}$",
                  one.max_log_warp and f"$e^{{\\pm {one.max_log_warp:g}}}$",
                  one.max_mask_frames and f"2, 0–{one.max_mask_frames} frames",
                  one.mixup_alpha and f"$\\alpha = {one.mixup_alpha:g}$",
                  getattr(one, "channel_probability", 0) and f"{100 * one.channel_probability:g} % of the clips",
                  params["normalize_level"] and "yes",
                  len(warps) > 1 and ", ".join(f"$e^{{{warp:g}}}$" for warp in warps),
                  params["prior_correction"] and "yes")
        titles = ("tempo factor", "VTLP factor", "time masks", "mixup", "simulated channel", "level normalization",
                  "test-time augmentation", "prior correction")
        settings[name] = {title: value or "–" for title, value in zip(titles, values, strict=True)}
    return _group_models(settings)


def _format_range(limits, unit=""):
    return f"{limits[0]:g} to {limits[1]:g}{unit}".replace("-", "−")


def channel_settings():
    """Table of the parameters of the simulated channels of `cnn_robust` and of `whisper_robust`."""
    a, d, config = augment, distortions, FeatureConfig()
    padding = (a.MAX_PADDING_FRAMES - 1) * config.hop_length / config.sr
    rows = [
        ("silence at each end", f"all: 0 to {padding:.2f} s", f"all: 0 to {d.MAX_SILENCE_S:g} s"),
        ("reverberation", f"{100 * a.REVERBERATION_PROBABILITY:g} %: RT60 {_format_range(a.RT60_SECONDS, ' s')}, "
         f"reverberant-to-direct power ratio {_format_range(a.REVERBERANT_TO_DIRECT)}",
         f"{100 * d.REVERBERATION_PROBABILITY:g} %: RT60 {_format_range(d.RT60_RANGE_S, ' s')}, direct-to-reverberant "
         f"energy ratio {_format_range(d.DIRECT_TO_REVERBERANT_RANGE_DB, ' dB')}"),
        ("frequency response", f"all: sum of {a.N_COSINES} cosines over the mel bands, amplitudes with an SD of "
         f"{a.ENVELOPE_SD_DB} dB",
         f"all: {d.N_RESPONSE_POINTS} points on a logarithmic frequency axis, each within ±{d.MAX_RESPONSE_DB} dB"),
        ("band limits", f"{100 * a.CUTOFF_PROBABILITY:g} % at each end: {_format_range(a.LOW_CUTOFF_HZ)} and "
         f"{_format_range(a.HIGH_CUTOFF_HZ, ' Hz')}, {_format_range(a.STOPBAND_DB, ' dB')} attenuation; for "
         f"{100 * a.TELEPHONE_PROBABILITY:g} % both ends, the upper one at "
         f"{_format_range(a.TELEPHONE_HIGH_CUTOFF_HZ, ' Hz')}",
         f"{100 * d.BAND_LIMIT_PROBABILITY:g} %: {_format_range(d.LOW_CUT_RANGE_HZ)} and "
         f"{_format_range(d.HIGH_CUT_RANGE_HZ, ' Hz')}"),
        ("noise", f"{100 * a.NOISE_PROBABILITY:g} %: SNR {_format_range(a.SNR_RANGE_DB, ' dB')}, slope "
         f"{_format_range(a.NOISE_SLOPE_DB, ' dB')} over the mel bands",
         f"{100 * d.NOISE_PROBABILITY:g} %: SNR {_format_range(d.SNR_RANGE_DB, ' dB')}, power spectrum $1/f^s$ with "
         f"$s$ from 0 to {d.MAX_NOISE_SLOPE}"),
        ("codec", f"{100 * a.CODEC_PROBABILITY:g} %: bands {_format_range(a.MASKING_DB, ' dB')} below the strongest of "
         f"their frame are dropped with a probability of {_format_range(a.DROP_PROBABILITY)}",
         f"{100 * d.CODEC_PROBABILITY:g} %: telephone (8-bit µ-law, "
         f"{_format_range(d.TELEPHONE_BAND_HZ, ' Hz')}) or MP3 (about 20 kbit/s)"),
        ("gain", "– (level normalization)", f"all: {_format_range(d.GAIN_RANGE_DB, ' dB')}")]
    return left_align(format_markdown_table(pd.DataFrame(rows, columns=[
        "step", "`cnn_robust`, `cnn_robust_gender`: mel spectrogram", "`whisper_robust`: waveform"])))


# docs/guide


def hours():
    """Time that all published runs take on two cores."""
    minutes = [record["core_minutes"] for corpus in (*CORPUS_TITLES, MULTI_CORPUS)
               for record in read_json(f"results/{corpus}/run_metadata.json")]
    return f"{sum(minutes) / 120:.1f}"


def held_out_mean_mfcc():
    """Mean UAR of the deployed MFCC configuration over the held-out corpora, trained on all others; four emotions."""
    table = tables.leave_one_corpus_out_table(load_summary(MULTI_CORPUS, FOUR_EMOTIONS))
    return f"{table.loc['mean', DEPLOYED['mfcc']['emotion']]:.1f}"


def first_run():
    """Duration of each step in a fresh clone."""
    return format_markdown_table(pd.DataFrame([
        {"step": f"{step['step']}: `{step['command']}`", "time": format_duration(step["seconds"]),
         "measured": step["date"]}
        for step in read_json("docs/first_run.json")["steps"]]))


def step_duration(name):
    """Duration of one step in a fresh clone."""
    [step] = [step for step in read_json("docs/first_run.json")["steps"] if step["step"] == name]
    return format_duration(step["seconds"])


def format_duration(seconds):
    """Format a duration in s or min."""
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.{1 if seconds < 10 else 0}f} s"


# data/README.md

def datasets():
    """Table of the supported corpora, and their citations."""
    table = pd.DataFrame([{
        "name": f"`{one.name}`", "corpus": f"[{one.title}]({one.homepage})", "language": one.language,
        "clips": f"{one.n_clips:,}", "speakers": str(one.n_speakers), "emotions": ", ".join(one.emotions),
        "licence": one.licence, "shipped models": shipping(one),
        "download": f"`make download DATASET={one.name}`" if one.url else one.download_info}
        for one in DATASETS.values()])
    titles = {one.citation: one.title for one in reversed(DATASETS.values())}  # RAVDESS speech and song share theirs
    citations = "\n".join(f"- {title}: {citation}." for citation, title in reversed(titles.items()))
    return f"{left_align(format_markdown_table(table))}\n\n{citations}"


def shipping(dataset):
    """Say whether a model trained on a corpus may be shipped."""
    if dataset.allows_derivatives:
        return "under its licence"
    return "no" if "-ND" in dataset.licence else "not stated; ask the authors"


def left_align(table):
    """Left-align all columns of a Markdown table."""
    return table.replace("|---:", "|---")


# SECURITY.md, benchmarks/README.md

def robustness():
    """Results of the fuzzing and interruption tests and of the test suite under other Python versions."""
    results = read_json("benchmarks/robustness.json")
    fuzzing = results["fuzzing"]
    failures = fuzzing["n_tracebacks_or_hangs"] or "no"
    rows = [(f"{fuzzing['n_inputs']:,} malformed files through load, extract and predict",
             f"{fuzzing['n_accepted']:,} accepted, {fuzzing['n_rejected']:,} rejected with one line for "
             f"{fuzzing['n_reasons']} reasons; {failures} traceback or hang; at most {fuzzing['max_seconds']} s and "
             f"{fuzzing['max_memory_mb']} MB per file", fuzzing["date"])]
    rows += [(f"{name.removeprefix('interruption: ')}: SIGKILL at {result['n_kills']} random times",
              f"no partial file under a final name; {result['n_identical_reruns']} of {result['n_kills']} repeated "
              "runs end with the result of an undisturbed run", result["date"])
             for name, result in results.items() if name.startswith("interruption: ")]
    rows += [(f"{name}: tests without those of a browser",
              f"{result['passed']} passed, {result['failed'] + result['error']} failed, {result['skipped']} skipped",
              result["date"])
             for name, result in results.items() if name.startswith("Python ")]
    return left_align(format_markdown_table(pd.DataFrame(rows, columns=["test", "result", "date"])))


def benchmarks():
    """All rows of the benchmark."""
    rows = read_json("benchmarks/results.json")["rows"]
    return left_align(format_markdown_table(pd.DataFrame([{
        "task": row["work"], "baseline": row["baseline"], "speed-up (range)": format_ratio(row),
        "time": format_time(row["seconds"]), "time of the baseline": format_time(row["baseline_seconds"]),
        "largest difference": "–" if row["max_difference"] is None else f"{row['max_difference']:.1g}"}
        for row in rows])))


def format_time(seconds):
    """Format a measured time with three significant digits."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def format_ratio(row):
    """Format the median speed-up and its range over the turns."""
    decimals = 0 if row["ratio"] >= 20 else 1 if row["ratio"] >= 2 else 2
    median, low, high = (f"{row[key]:.{decimals}f}" for key in ("ratio", "ratio_min", "ratio_max"))
    return f"{median} ({low}–{high})"


def equality():
    """Largest differences between results that should be equal."""
    differences = read_json("benchmarks/results.json")["equality"]
    return "\n".join(f"- {name}: {value:.1g}" for name, value in differences.items())


def machine():
    """Sentence on the machine of the benchmark."""
    results = read_json("benchmarks/results.json")
    info = results["machine"]
    return (f"Measured on {info['date']}: {info['processor']}, {info['cores']} cores, {info['memory_gb']} GB of "
            f"memory, {info['system']}, Python {info['python']}; {results['n_clips']} clips of {results['dataset']}.")
