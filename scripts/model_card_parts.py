"""Tables and sentences of the model card, models/README.md, and of the pages that quote it; see document_parts.py."""

import re

import numpy as np
import pandas as pd
from document_parts import (
    HEADLINE,
    OPEN_SPLIT,
    RAVDESS_SPLIT,
    WHISPER_MODEL,
    format_ci,
    format_uar,
    load_predictions,
    load_summary,
    read_json,
    recall_row,
    select,
)

from ser_utils._utils.files import ROOT
from ser_utils.distortions import CONDITIONS
from ser_utils.evaluation import tables
from ser_utils.evaluation.metrics import confusion_matrix, get_class_names, restrict_classes, summarize
from ser_utils.evaluation.results import MULTI_CORPUS
from ser_utils.evaluation.tables import FOUR_EMOTIONS, format_markdown_table, format_percent
from ser_utils.features.store import load_features
from ser_utils.live import load_model
from ser_utils.models.registry import DEPLOYED

FRONT_ENDS = {"whisper": (MULTI_CORPUS, RAVDESS_SPLIT, OPEN_SPLIT),  # predictions and splits of its evaluations
              "mfcc": ("ravdess", HEADLINE["split"], "leave-one-corpus-out")}
ROBUSTNESS_MODELS = ("cnn_attention", "cnn_robust", WHISPER_MODEL)


def recall():
    """Recall per class of the deployed models on unseen RAVDESS speakers, for all speakers and by gender."""
    genders, table = load_features().clips.set_index("clip")["gender"], {}
    for name, title in (("whisper", "Whisper"), ("mfcc", "MFCC")):
        corpus, split, _ = FRONT_ENDS[name]
        rows = select(load_predictions(corpus), model=DEPLOYED[name]["emotion"], split=split)
        gender = rows["clip"].str.removeprefix("ravdess/").map(genders)
        table |= {f"{title}, {speakers}": pd.concat([recall_row(part), pd.Series({"95 % CI": format_ci(part)})])
                  for speakers, part in (("all", rows), *rows.groupby(gender))}
    return format_markdown_table(pd.DataFrame(table).T.reset_index(names="model, speakers"))


def confusions():
    """List the three most frequent confusions of the deployed Whisper configuration on unseen RAVDESS speakers."""
    rows = select(load_predictions(MULTI_CORPUS), model=WHISPER_MODEL, split=RAVDESS_SPLIT)
    names = get_class_names(rows)
    cm = confusion_matrix(rows)
    rates = pd.DataFrame(cm / cm.sum(axis=1, keepdims=True), names, names)
    rates = rates.where(~np.eye(len(names), dtype=bool)).stack().nlargest(3)
    first, *more = [f"{true} with {predicted} ({format_percent(rate)} %" for (true, predicted), rate in rates.items()]
    first += f" of the {rates.index[0][0]} clips)"
    return f"{first}, " + " and ".join(f"{text})" for text in more)


def model_version():
    """Version in the metadata of the deployed classifiers."""
    [version] = {load_model(name).metadata["version"] for name in DEPLOYED}
    return version


def emodb_mfcc():
    """UAR on EMO-DB over four emotions of the shipped MFCC file and of its configuration trained on other corpora."""
    model = DEPLOYED["mfcc"]["emotion"]
    shipped, other = (restrict_classes(select(load_predictions(folder), model=model, split=split, test_corpus="emodb"),
                                       list(FOUR_EMOTIONS))
                      for folder, split in (("robustness", "cross-corpus"), (MULTI_CORPUS, FRONT_ENDS["mfcc"][2])))
    return (f"{recall_row(shipped)['UAR']} % UAR for the shipped file, {recall_row(other)['UAR']} % for the same "
            "configuration trained on all other corpora")


def held_out_gender():
    """UAR of the deployed Whisper configuration by gender of the speakers on held-out corpora, four emotions."""
    emotion, gender = (select(load_predictions(MULTI_CORPUS, target), model=WHISPER_MODEL, split=OPEN_SPLIT)
                       for target in ("emotion", "gender"))
    emotion = restrict_classes(emotion, list(FOUR_EMOTIONS))
    emotion["gender"] = emotion["clip"].map(gender.set_index("clip")["label"])
    table = []
    for corpus, rows in emotion.dropna(subset="gender").groupby("test_corpus"):
        female, male = (select(rows, gender=name).drop(columns="gender") for name in ("female", "male"))
        uar = [100 * summarize(part)["uar"].item() for part in (female, male)]
        table.append({"tested on": tables.corpus_title(corpus),
                      "speakers (female, male)": f"{female['speaker'].nunique()}, {male['speaker'].nunique()}",
                      "UAR, female": format_uar(female), "UAR, male": format_uar(male),
                      "female − male": f"{uar[0] - uar[1]:+.1f}"})
    return format_markdown_table(pd.DataFrame(table))


def ravdess_adaptation():
    """UAR of the deployed Whisper configuration on unseen RAVDESS speakers without and with speaker adaptation."""
    predictions = select(load_predictions(MULTI_CORPUS), model=WHISPER_MODEL)
    return " and ".join(f"{uar.item():.1f}" for uar in compare_adaptation(predictions, RAVDESS_SPLIT))


def held_out_scores():
    """UAR of the deployed configurations on held-out corpora, over four and over all shared emotions, and adapted."""
    four, shared = (select(load_summary(MULTI_CORPUS, *names), target="emotion") for names in ((FOUR_EMOTIONS,), ()))
    mfcc = select(four, model=DEPLOYED["mfcc"]["emotion"], split=FRONT_ENDS["mfcc"][2]).set_index("test_corpus")["uar"]
    four, shared = (select(table, model=WHISPER_MODEL, split=OPEN_SPLIT).set_index("test_corpus")
                    for table in (four, shared))
    without, adapted = compare_adaptation(select(load_predictions(MULTI_CORPUS), model=WHISPER_MODEL), OPEN_SPLIT,
                                          FOUR_EMOTIONS)
    scores = pd.DataFrame({"four": four["uar"], "shared": shared["uar"], "chance": shared["chance"], "mfcc": mfcc,
                           "without": without / 100, "adapted": adapted / 100})
    intervals = four.dropna(subset="ci_low").apply(
        lambda row: f"{format_percent(row['ci_low'])}–{format_percent(row['ci_high'])}", axis=1)
    scores.loc["mean"] = scores.mean()
    return format_markdown_table(pd.DataFrame([{
        "tested on": tables.corpus_title(name), "speakers": str(four["n_speakers"].get(name, "")),
        "four emotions": format_percent(row["four"]), "95 % CI": intervals.get(name, "–"),
        "without → with adaptation": f"{format_percent(row['without'])} → {format_percent(row['adapted'])}",
        "shared emotions": format_percent(row["shared"]), "chance": format_percent(row["chance"]),
        "MFCC†: four emotions": format_percent(row["mfcc"])} for name, row in scores.iterrows()]))


def mfcc_gender():
    """UAR and recall of the gender model of the MFCC front end on unseen RAVDESS speakers."""
    rows = select(load_predictions("ravdess", "gender"), model=DEPLOYED["mfcc"]["gender"], split=HEADLINE["split"])
    row = recall_row(rows)
    return f"{row['UAR']} % UAR (95 % CI {format_ci(rows)}; female {row['female']}, male {row['male']})"


def model_summary():
    """Table of the main scores of the deployed models; a dagger marks other models than the shipped files."""
    genders, columns = load_features().clips.set_index("clip")["gender"], {}
    for name, title, dagger, emodb in (("whisper", "Whisper (default)", "", (MULTI_CORPUS, OPEN_SPLIT)),
                                       ("mfcc", "MFCC", "†", ("robustness", "cross-corpus"))):
        (model, gender_model), (corpus, split, held_out) = DEPLOYED[name].values(), FRONT_ENDS[name]
        unseen = select(load_predictions(corpus), model=model, split=split)
        by_gender = dict(list(unseen.groupby(unseen["clip"].str.removeprefix("ravdess/").map(genders))))
        clean, telephone = (100 * summarize(select(load_predictions("robustness"), model=model, split=split,
                                                   condition=condition))["uar"].item()
                            for condition in ("clean", "telephone"))
        emotion = tables.leave_one_corpus_out_table(load_summary(MULTI_CORPUS, FOUR_EMOTIONS), split=held_out)
        gender = tables.leave_one_corpus_out_table(load_summary(MULTI_CORPUS), "accuracy", "gender", held_out)
        german = restrict_classes(select(load_predictions(emodb[0]), model=model, split=emodb[1], test_corpus="emodb"),
                                  list(FOUR_EMOTIONS))
        columns[title] = {
            "unseen RAVDESS speakers: UAR, eight emotions": format_uar(unseen),
            "– female speakers": format_uar(by_gender["female"]), "– male speakers": format_uar(by_gender["male"]),
            "– telephone quality (change)": f"{telephone:.1f} ({telephone - clean:+.1f})",
            "EMO-DB, held out: UAR, four emotions": format_uar(german),
            f"{len(emotion) - 1} held-out corpora, mean: UAR, four emotions":
                f"{emotion.loc['mean', model]:.1f}{dagger}",
            f"{len(gender) - 1} held-out corpora, mean: gender accuracy":
                f"{gender.loc['mean', gender_model]:.1f}{dagger}"}
    return format_markdown_table(pd.DataFrame(columns).reset_index(names="test data: score in per cent"))


def calibration(name):
    """Temperature and calibration error of a deployed emotion model, "whisper" or "mfcc"."""
    info = read_json(f"models/{name}_info.json")
    averaged, unit = {"whisper": (", averaged over the corpora,", "corpora"), "mfcc": ("", "folds")}[name]
    return (f"T = {info['temperature']:.2f}; the expected calibration error (ten bins){averaged} is "
            f"{format_percent(info['ece_uncalibrated'])} % before scaling and "
            f"{format_percent(info['ece_calibrated'])} % after scaling with the temperature of the other {unit}")


def channel_robustness():
    """UAR under simulated recording conditions, and the share of clips flagged as out of distribution."""
    rows, conditions = load_predictions("robustness"), list(CONDITIONS)
    rows = rows[rows["split"] != "cross-corpus"]
    uar = 100 * pd.DataFrame({condition: summarize(select(rows, condition=condition)).set_index("model")["uar"]
                              for condition in conditions}).T
    columns = {}
    for model in ROBUSTNESS_MODELS:
        columns[f"{model} UAR"] = uar[model].map("{:.1f}".format)
        columns[f"{model} change"] = (uar[model] - uar.loc["clean", model]).map("{:+.1f}".format)
    for model in ROBUSTNESS_MODELS[1:]:
        flagged = select(rows, model=model).set_index("condition")["ood_score"] > 1
        columns[f"{model} flagged (%)"] = flagged.groupby(level=0).mean().map(lambda share: format_percent(share, 0))
    return format_markdown_table(pd.DataFrame(columns).loc[conditions].reset_index(names="condition"))


def enrollment():
    """UAR of the deployed MFCC model with and without enrollment, on the same clips."""
    rows = select(load_predictions("robustness"), model="cnn_robust", split="enrollment-normalized")
    with_, without = (select(rows, condition=condition) for condition in ("speaker-normalized", "not normalized"))
    return (f"{recall_row(with_)['UAR']} % UAR (95 % CI {format_ci(with_)}), compared with "
            f"{recall_row(without)['UAR']} % ({format_ci(without)}) without enrollment")


def compare_adaptation(predictions, split, emotions=None):
    """UAR (%) by test corpus without and with speaker adaptation, on the same clips."""
    adapted, plain = (select(predictions, split=name) for name in (f"{split}-adapted", split))
    plain = plain.merge(adapted[["test_corpus", "clip"]])
    if emotions:
        adapted, plain = (restrict_classes(table, list(emotions)) for table in (adapted, plain))
    return [100 * summarize(table).set_index("test_corpus")["uar"] for table in (plain, adapted)]


def adaptation():
    """Mean UAR over the held-out corpora without and with speaker adaptation."""
    predictions = select(load_predictions(MULTI_CORPUS), model=WHISPER_MODEL)
    return " to ".join(f"{uar.mean():.1f}" for uar in compare_adaptation(predictions, OPEN_SPLIT, FOUR_EMOTIONS))


def headline_score(corpus, model, split):
    """UAR of a model over eight emotions on unseen RAVDESS speakers, with interval."""
    rows = select(load_predictions(corpus), model=model, split=split)
    return f"{recall_row(rows)['UAR']} % UAR (95 % confidence interval {format_ci(rows)})"


def mfcc_emodb():
    """UAR of the deployed MFCC model on EMO-DB with all eight emotions as possible outputs, with interval."""
    rows = select(load_predictions("robustness"), test_corpus="emodb")
    return f"{recall_row(rows)['UAR']} % (95 % confidence interval {format_ci(rows)})"


def held_out_mean():
    """Mean UAR of the deployed Whisper configuration over the held-out corpora, four emotions, not adapted."""
    table = tables.leave_one_corpus_out_table(load_summary(MULTI_CORPUS, FOUR_EMOTIONS), split=OPEN_SPLIT)
    return f"{table.loc['mean', WHISPER_MODEL]:.1f}"


def held_out_range():
    """Lowest and highest UAR of the deployed Whisper configuration on a held-out corpus, four emotions."""
    table = tables.leave_one_corpus_out_table(load_summary(MULTI_CORPUS, FOUR_EMOTIONS), split=OPEN_SPLIT)
    uar = table[WHISPER_MODEL].drop("mean")
    return f"{uar.min():.1f} ({uar.idxmin()}) to {uar.max():.1f} % ({uar.idxmax()})"


def training_data():
    """List the number of clips of each training corpus of the deployed Whisper model, from its metadata."""
    return re.sub(r", (\d+) clips", r" (\1)", load_model("whisper").metadata["training_data"]).replace(";", ",")


def gender_recall():
    """Recall and accuracy of gender on held-out corpora by the deployed configurations."""
    rows = select(load_predictions(MULTI_CORPUS, "gender"), model=WHISPER_MODEL, split=OPEN_SPLIT)
    table = pd.DataFrame({tables.corpus_title(name): recall_row(part) for name, part in rows.groupby("test_corpus")}).T
    whisper, mfcc = (
        tables.leave_one_corpus_out_table(load_summary(MULTI_CORPUS), "accuracy", "gender", FRONT_ENDS[name][2])[
            DEPLOYED[name]["gender"]].map("{:.1f}".format) for name in ("whisper", "mfcc"))
    return format_markdown_table(pd.DataFrame({
        "recall, female": table["female"], "recall, male": table["male"], "accuracy": whisper,
        "MFCC†: accuracy": mfcc}).reindex(whisper.index).fillna("–").reset_index(names="tested on"))


def whisper_ood_false_positives():
    """Share of the clips of each held-out corpus that are flagged with the limit of the other corpora."""
    rates = read_json("models/whisper_info.json")["ood_false_positive_rate"]
    return ", ".join(f"{tables.corpus_title(corpus)} {format_percent(rate, 0)}" for corpus, rate in rates.items())


def model_files():
    """List the model files with their sizes."""
    sizes = {f"`{path.name}`": path.stat().st_size / 1e6 for path in sorted((ROOT / "models").glob("*.onnx"))}
    return ", ".join(f"{name} {size:.1f} MB" for name, size in (sizes | {"in all": sum(sizes.values())}).items())


def emodb():
    """Scores of the deployed models on EMO-DB."""
    emotion, gender = (select(load_predictions("robustness", target), test_corpus="emodb")
                       for target in ("emotion", "gender"))
    absent = set(get_class_names(emotion)) - set(emotion["label"])
    common = emotion.drop(columns=[f"p_{name}" for name in absent])
    lines = []
    for title, rows in (("Emotion, restricted to the six common classes", common),
                        ("Emotion, eight outputs, six classes in the test set", emotion), ("Gender", gender)):
        row = recall_row(rows)
        recalls = ", ".join(f"{name} {value}" for name, value in row.drop("UAR").items())
        lines.append(f"- {title}: UAR {row['UAR']} % (95 % CI {format_ci(rows)}, {rows['speaker'].nunique()} speakers, "
                     f"chance {format_percent(1 / rows['label'].nunique())}); recall: {recalls}.")
    flagged = format_percent((gender["ood_score"] > 1).mean(), 0)
    return "\n".join([*lines, f"- Flagged as out of distribution: {flagged} % of the clips."])


def ood_detection():
    """AUROC and detection rate of the out-of-distribution scores for sounds without speech."""
    columns = {}
    for name, title in (("whisper", "Whisper"), ("mfcc", "MFCC")):
        result = pd.DataFrame(read_json(f"models/{name}_info.json")["ood_detection"]).T
        columns[f"{title}: AUROC"] = result["auroc"].map("{:.3f}".format)
        columns[f"{title}: flagged (%)"] = result["flagged_fraction"].map(lambda share: format_percent(share, 0))
    return format_markdown_table(pd.DataFrame(columns).reset_index(names="sound"))


def ood_false_positives():
    """Range over the folds of the share of unseen speakers' clips that are flagged."""
    shares = read_json("models/mfcc_info.json")["ood_false_positive_rate_by_fold"]
    return f"{format_percent(min(shares))}–{format_percent(max(shares))}"


def encoder():
    """Parity, size and run time of the Whisper encoder."""
    result = read_json("benchmarks/encoder.json")
    error, size, time, uar = (result[name] for name in ("rms_difference_in_sd", "size_mb", "time_ms", "uar"))
    return (f"before quantization, the hidden states of RAVDESS clips, padded to 30 s as `transformers` requires, "
            f"differ by at most {error['float32']:.1e} standard deviations (root mean square over a clip). "
            f"Quantization changes those of clips without padding by at most {error['int8']:.2f} standard deviations; "
            f"the UAR of `whisper_logreg` (split `selection-cv`) is {uar['float32']:.1f} % "
            f"before and {uar['int8']:.1f} % after quantization. Size: {size['float32']:.0f} MB before and "
            f"{size['int8']:.0f} MB after quantization, {size['transformers, encoder in float32']:.0f} MB for all "
            f"layers in `transformers`. Time on one thread: {time['int8, 3 s']:.0f} ms for 3 s of speech "
            f"({time['float32, 3 s']:.0f} ms before quantization), {time['int8, 30 s']:.0f} ms for 30 s "
            f"({time['float32, 30 s']:.0f} ms); `transformers`, which pads all clips to 30 s and computes all six "
            f"layers, takes {time['transformers, 30 s']:.0f} ms. One prediction in a new process takes "
            f"{result['cold_s']['ser predict --model whisper']:.2f} s (`--model mfcc`: "
            f"{result['cold_s']['ser predict --model mfcc']:.2f} s; import of PyTorch and the encoder alone with "
            f"`transformers`: {result['cold_s']['transformers, encoder alone']:.1f} s), a further one "
            f"{result['warm_ms']['whisper']:.0f} ms ({result['warm_ms']['mfcc']:.0f} ms). Measured on "
            f"{result['machine']['date']}, {result['machine']['processor']}.")
