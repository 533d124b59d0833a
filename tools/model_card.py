"""What stands between the marks of models/README.md, from the committed predictions, for tools/update_readme.py."""

import json

import pandas as pd

from ser_utils import distort, live, publish, scores, store
from ser_utils.report import lined, percent

CARD = live.MODELS / "README.md"


def recalls(rows):
    """Recall of each class and their mean, as text."""
    found = pd.Series(scores.recalls(scores.confusion(rows)), scores.classes(rows)).dropna()
    return pd.concat([found, pd.Series({"UAR": scores.summary(rows)["uar"].item()})]).map(percent)


def interval(rows):
    """The speaker bootstrap, as text."""
    return "–".join(map(percent, scores.interval(rows)))


def by_gender(rows):
    """Everybody's rows, women's and men's. dict of pd.DataFrame"""
    gender = store.load().clips.set_index("clip")["gender"].loc[rows["clip"]].to_numpy()
    return {"all speakers": rows, "women": rows[gender == "female"], "men": rows[gender == "male"]}


def card(emotion, gender):
    """Recall by emotion for everybody, women and men, and how often the gender is right."""
    about = recalls(gender)
    table = pd.DataFrame({name: recalls(part) for name, part in by_gender(emotion).items()}).T
    return (lined(table.reset_index(names="recall")) +
            f"\n\nUAR {interval(emotion)} in a 95 % interval over speakers, chance 12.5. Gender: {about['UAR']} % "
            f"({interval(gender)}; women {about['female']}, men {about['male']}), chance 50.")


def robustness(rows):
    """UAR of both networks under every condition, what they lose, and how often it says unlike speech."""
    under = rows[rows["protocol"].isin(list(distort.CONDITIONS))]
    table = 100 * scores.summary(under).pivot_table("uar", "protocol", "model").loc[list(distort.CONDITIONS)]
    change = table - table.loc["clean"]
    flagged = under[under["model"] == "cnn_live"].groupby("protocol")["strange"].agg(lambda one: (one > 1).mean())
    shown = {f"{model}{what}": values[model].map(form.format) for model in ("cnn", "cnn_live")
             for what, values, form in (("", table, "{:.1f}"), (", change", change, "{:+.1f}"))}
    return lined(pd.DataFrame(shown).assign(flagged=flagged.map("{:.0%}".format)).rename(
        columns={"flagged": "called unlike speech"}).reset_index(names="what happens to it"))


def accustomed(rows):
    """What it brings to know how a speaker sounds at rest."""
    used = rows[rows["protocol"].str.contains("used to the speaker")]
    parts = dict(list(used[used["model"] == "cnn_live"].groupby("protocol")))
    then, before = (f"{percent(scores.summary(parts[name])['uar'].item())} ({interval(parts[name])})"
                    for name in ("used to the speaker", "not used to the speaker"))
    return f"a UAR of {then} where it gives {before} without"


def strangers(rows):
    """Sentences on EMO-DB."""
    rows = rows[rows["protocol"] == "EMO-DB"]
    free, gender = rows[rows["labels"] == "emotion"], rows[rows["labels"] == "gender"]
    absent = set(scores.classes(free)) - set(free["emotion"])
    common = free.drop(columns=[f"p_{name}" for name in absent])
    said = []
    for what, part, chance in (("emotion, the answer restricted to the common six", common, 100 / 6),
                               ("emotion, all eight allowed", free, 100 / 8), ("gender", gender, 50)):
        about = recalls(part)
        each = ", ".join(f"{name} {value}" for name, value in about.items() if name != "UAR")
        said.append(f"- {what}: UAR {about['UAR']} % ({interval(part)} over its {part['speaker'].nunique()} speakers, "
                    f"chance {chance:.1f}); {each}")
    return "\n".join([*said, f"- called unlike speech: {(gender['strange'] > 1).mean():.0%} of its clips"])


def parts():
    """What stands between the marks. dict of mark to text"""
    about = json.loads((live.MODELS / "live.json").read_text(encoding="utf-8"))
    published, measured = publish.load(), publish.load(publish.PUBLISHED / "live")
    emotion, gender = (published[(published[scores.KEYS] == [model, "speaker-independent", labels]).all(axis=1)]
                       for labels, model in live.RECIPES.items())
    return {
        "card": card(emotion, gender),
        "calibration": f"{about['temperature']:.2f}; the expected calibration error (ten bins) is "
                       f"{percent(about['calibration_error_before'])} points before and "
                       f"{percent(about['calibration_error_after'])} after, each fold at the others' temperature",
        "robustness": robustness(measured), "accustomed": accustomed(measured), "strangers": strangers(measured),
        "unlike": "; ".join(f"{what}: AUROC {value['auroc']:.3f}, {percent(value['flagged'], 0)} % flagged"
                            for what, value in about["unlike_speech"].items()),
        "flagged": "–".join(percent(value) for value in (min(about["flagged_by_fold"]), max(about["flagged_by_fold"])))}
