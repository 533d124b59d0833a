"""Put the published figures into README.md, docs, SECURITY.md and the READMEs of models, data and benchmarks.

python tools/update_readme.py
"""

import json
import re

import matplotlib
import matplotlib.pyplot as plt
import measured
import model_card
import numpy as np
import pandas as pd
import trial

from ser_utils import corpora, plots, publish, report, scores, splits

matplotlib.use("Agg")
README, DOCS = corpora.ROOT / "README.md", corpora.ROOT / "docs"
DATA = corpora.ROOT / "data" / "README.md"
TITLES = {"ravdess": "RAVDESS", "emodb": "EMO-DB", "ravdess-emodb": "RAVDESS and EMO-DB"}
PEOPLE = "Accuracy of people who hear these clips and do not see them: {} to {} %, as others quote it."
LEARNED = (*publish.LEARNED, "average")
MODELS = ("chance", "original_cnn", "svm", *LEARNED, "cnn_live", "gender_live")


def summaries():
    """What is published of each corpus. dict of name to pd.DataFrame"""
    return {corpus: scores.summary(publish.load(publish.PUBLISHED / corpus)) for corpus in TITLES}


def overview(found):
    """A row a question, a column a model: UAR of every protocol that is published of more than one model."""
    rows = []
    for corpus, summary in found.items():
        for (protocol, labels), heading in report.headings(summary).items():
            part = summary[(summary["protocol"] == protocol) & (summary["labels"] == labels)].set_index("model")["uar"]
            rows.append(f"| {TITLES[corpus]}: {heading} | " + " | ".join(
                report.percent(part.get(model)) for model in MODELS) + " |")
    return "\n".join(["| UAR (%) | " + " | ".join(MODELS) + " |", "|---" + "|---:" * len(MODELS) + "|", *rows])


def methods(found):
    """What stands between the marks of docs/methods.md. dict of mark to text"""
    rows = publish.load()
    rows = rows[(rows["protocol"] == "speaker-independent") & (rows["labels"] == "emotion")]
    consulted = {f"{actor:02d}" for pair in splits.RAVDESS_VALIDATION for actor in pair}
    others = scores.summary(rows[~rows["speaker"].isin(consulted)]).set_index("model")["uar"]
    looks = pd.read_csv(publish.PUBLISHED / "ravdess" / "looks.csv")
    headline = looks[(looks["protocol"] == "speaker-independent") & (looks["labels"] == "emotion")]
    return {"overview": overview(found),
            "unconsulted": ", ".join(f"{name} {report.percent(others[name])}" for name in LEARNED),
            "looks": ", ".join(f"{name} {count}" for name, count in headline["model"].value_counts().items())}


def hours():
    """What every published fold and seed takes on two cores, as it did when it was made. str"""
    made = [entry for corpus in TITLES
            for entry in json.loads((publish.PUBLISHED / corpus / "made.json").read_text()).values()]
    return f"{sum(entry['core_minutes'] for entry in made) / 120:.1f}"


def declared():
    """What data/README.md says of every corpus, from its declaration."""
    lines = ["| name | what | clips | speakers | emotions | licence | how it is had |",
             "|---|---|---:|---:|---|---|---|"]
    for one in corpora.CORPORA.values():
        had = f"`make fetch CORPUS={one.name}`" if one.url else one.steps
        lines.append(f"| `{one.name}` | [{one.title}]({one.source}) | {one.clips:,} | {one.speakers} | "
                     f"{', '.join(one.emotions)} | {one.licence} | {had} |")
    cited = {one.citation: one.title for one in reversed(corpora.CORPORA.values())}
    return "\n".join([*lines, "", *(f"- {title}: {citation}." for citation, title in reversed(cited.items()))])


def pages(found):
    """What stands between the marks of every page. dict of Path to dict of mark to text"""
    strict = found["ravdess"].query("protocol == 'speaker-independent' and labels == 'emotion'")
    return {README: {"story": story(found), "people": PEOPLE.format(*report.PEOPLE),
                     "set_up": trial.took("set up"), "run": trial.took("the full report"),
                     "results": report.markdown(strict), "bench": measured.brief(), "machine": measured.machine()},
            DOCS / "methods.md": methods(found), DOCS / "commands.md": {"hours": hours(), "trial": trial.table()},
            measured.FOLDER / "README.md": {name: getattr(measured, name)() for name in ("bench", "machine", "equal")},
            corpora.ROOT / "SECURITY.md": {"robustness": measured.robustness()},
            model_card.CARD: model_card.parts(), DATA: {"corpora": declared()}}


def fill(path, texts):
    """Put every part between its marks in a file."""
    path.write_text(filled(path.read_text(encoding="utf-8"), texts), encoding="utf-8")


def filled(text, texts):
    """The text with every part between its marks."""
    for mark, part in texts.items():
        between = f"\n{part}\n" if "\n" in part else part
        text, count = re.subn(f"(<!-- {mark} -->).*?(<!-- /{mark} -->)", lambda found, between=between:
                              found[1] + between + found[2], text, flags=re.DOTALL)
        if not count:
            raise ValueError(f"there is no <!-- {mark} --> ... <!-- /{mark} -->; put them where {mark} belongs")
    return text


def story(found):
    """What the first figure shows, in a sentence of the README."""
    random, unseen = (rung(found["ravdess"], name) for name in ("leak-random", "leak-speakers"))
    whole = rung(found["ravdess"], "speaker-independent").loc["cnn", "uar"]
    return ("The same networks and emotions, trained on equally many clips: the CNN reaches a UAR of "
            f"{report.percent(random.loc['cnn', 'uar'])} % where files are split at random, and "
            f"{report.percent(unseen.loc['cnn', 'uar'])} % on voices it never heard ({report.percent(whole)} % with "
            "all that there is to learn from).")


def rung(summary, protocol):
    """A row a model of one protocol over the emotions, the best on unseen speakers last."""
    part = summary[(summary["labels"] == "emotion") & summary["protocol"].isin([protocol, "leak-speakers"])]
    order = part[part["protocol"] == "leak-speakers"].sort_values("uar")["model"]
    return part[part["protocol"] == protocol].set_index("model").loc[order]


def draw_story(found, path):
    """Models by what a random split promises and what unseen speakers get, with chance and people."""
    random, unseen = (100 * rung(found["ravdess"], name)[["uar", "low", "high"]]
                      for name in ("leak-random", "leak-speakers"))
    ax = plt.subplots(figsize=(8.4, 3.6), layout="constrained")[1]
    ax.axvspan(*report.PEOPLE, color="0.9", zorder=0)
    ax.axvline(100 / 8, color="0.3", linestyle="--")
    for y, model in enumerate(unseen.index):
        here, colour = unseen.loc[model], plots.style(model)["color"]
        ax.annotate("", (here["uar"] + 0.6, y), (random.loc[model, "uar"], y),
                    arrowprops={"arrowstyle": "-|>", "color": "0.5"})
        ax.plot([here["low"], here["high"]], [y, y], color=colour, linewidth=5, alpha=0.25, solid_capstyle="butt")
        ax.plot(random.loc[model, "uar"], y, "o", color=colour, fillstyle="none", markersize=9)
        ax.plot(here["uar"], y, "o", color=colour, markersize=9)
        for x, side in ((random.loc[model, "uar"], 10), (here["uar"], -10)):
            ax.annotate(f"{x:.1f}", (x, y), (side, 0 if side > 0 else 10), textcoords="offset points", va="center",
                        ha="left" if side > 0 else "right")
    above = len(unseen) - 0.45
    ax.text(100 / 8 + 0.7, above, "chance", va="center")
    ax.text(np.mean(report.PEOPLE), above, "people*", va="center", ha="center")
    ax.set(yticks=range(len(unseen)), yticklabels=unseen.index, xlim=(0, 100), ylim=(-0.6, len(unseen) - 0.1),
           xlabel="UAR (%): ○ files split at random   ● unseen speakers, with 95 % interval",
           title="What a random split promises, and what a stranger gets")
    ax.spines[["top", "right"]].set_visible(False)
    ax.figure.savefig(path, dpi=110, metadata={"Software": None})


def everything(found):
    """All published tables as a page of Markdown."""
    sections = [f"## {TITLES[corpus]}\n\n{report.markdown(summary)}" for corpus, summary in found.items()]
    return "# Every published table\n\nMade by `tools/update_readme.py` from the predictions in `results`; " \
           "what the columns mean stands in the [README](../README.md).\n\n" + "\n\n".join(sections) + "\n"


def main():
    """Rewrite what stands between the marks, the page of tables, and the figures in docs."""
    found = summaries()
    draw_story(found, DOCS / "story.png")
    for path, texts in pages(found).items():
        fill(path, texts)
    (DOCS / "results.md").write_text(everything(found), encoding="utf-8")
    predictions = publish.load()
    rows = predictions[(predictions[publish.KEYS] == ["cnn", "speaker-independent", "emotion"]).all(axis=1)]
    counts = scores.confusion(rows)
    title = f"CNN on unseen speakers, UAR {report.percent(scores.uar(counts))} %"
    figure = plots.confusion(counts, scores.classes(rows), title).figure
    figure.savefig(DOCS / "confusion_cnn.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
