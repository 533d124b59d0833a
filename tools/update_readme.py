"""Put the published figures into README.md, SECURITY.md, docs/results.md and the READMEs of models, data, benchmarks.

    python tools/update_readme.py
"""

import json
import re

import matplotlib
import measured
import model_card
import pandas as pd

from ser_utils import corpora, plots, publish, report, scores, splits

matplotlib.use("Agg")
README, RESULTS = corpora.ROOT / "README.md", corpora.ROOT / "docs" / "results.md"
DATA = corpora.ROOT / "data" / "README.md"
TITLES = {"ravdess": "RAVDESS", "emodb": "EMO-DB", "ravdess-emodb": "RAVDESS and EMO-DB"}
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


def parts(found):
    """What stands between the marks of the README. dict of mark to text"""
    strict = found["ravdess"].query("protocol == 'speaker-independent' and labels == 'emotion'")
    rows = publish.load()
    rows = rows[(rows["protocol"] == "speaker-independent") & (rows["labels"] == "emotion")]
    consulted = {f"{actor:02d}" for pair in splits.RAVDESS_VALIDATION for actor in pair}
    others = scores.summary(rows[~rows["speaker"].isin(consulted)]).set_index("model")["uar"]
    made = [entry for corpus in TITLES
            for entry in json.loads((publish.PUBLISHED / corpus / "made.json").read_text()).values()]
    looks = pd.read_csv(publish.PUBLISHED / "ravdess" / "looks.csv")
    headline = looks[(looks["protocol"] == "speaker-independent") & (looks["labels"] == "emotion")]
    return {"results": report.markdown(strict), "overview": overview(found),
            "unconsulted": ", ".join(f"{name} {report.percent(others[name])}" for name in LEARNED),
            "hours": f"{sum(entry['core_minutes'] for entry in made) / 120:.1f}",
            "looks": ", ".join(f"{name} {count}" for name, count in headline["model"].value_counts().items())}


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
    return {README: parts(found) | {"bench": measured.brief(), "machine": measured.machine()},
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


def everything(found):
    """All published tables as a page of Markdown."""
    sections = [f"## {TITLES[corpus]}\n\n{report.markdown(summary)}" for corpus, summary in found.items()]
    return "# Every published table\n\nMade by `tools/update_readme.py` from the predictions in `results`; " \
           "what the columns mean stands in the README.\n\n" + "\n\n".join(sections) + "\n"


def main():
    """Rewrite what stands between the marks, the page of tables, and docs/confusion_cnn.png."""
    found = summaries()
    for path, texts in pages(found).items():
        fill(path, texts)
    RESULTS.write_text(everything(found), encoding="utf-8")
    predictions = publish.load()
    rows = predictions[(predictions[publish.KEYS] == ["cnn", "speaker-independent", "emotion"]).all(axis=1)]
    counts = scores.confusion(rows)
    title = f"CNN on unseen speakers, UAR {report.percent(scores.uar(counts))} %"
    figure = plots.confusion(counts, scores.classes(rows), title).figure
    figure.savefig(corpora.ROOT / "docs" / "confusion_cnn.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
