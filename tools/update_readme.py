"""Put the published table and the CNN's confusion matrix into the README, from the committed predictions.

    python tools/update_readme.py
"""

import re

import matplotlib

from ser_utils import corpora, plots, publish, report, scores, splits

matplotlib.use("Agg")


def main():
    """Rewrite what stands between the result marks, and docs/confusion_cnn.png."""
    predictions = publish.load()
    path = corpora.ROOT / "README.md"
    table = f"<!-- results -->\n{report.markdown(scores.summary(predictions))}\n<!-- /results -->"
    text = re.sub("<!-- results -->.*<!-- /results -->", lambda _: table, path.read_text(encoding="utf-8"),
                  flags=re.DOTALL)
    rows = predictions[(predictions[publish.KEYS] == ["cnn", "speaker-independent", "emotion"]).all(axis=1)]
    counts = scores.confusion(rows)
    consulted = {f"{actor:02d}" for pair in splits.RAVDESS_VALIDATION for actor in pair}
    others = scores.uar(scores.confusion(rows[~rows["speaker"].isin(consulted)]))
    path.write_text(re.sub("(<!-- unconsulted -->).*(<!-- /unconsulted -->)",
                           rf"\g<1>{report.percent(others)} %\g<2>", text), encoding="utf-8")
    title = f"CNN on unseen speakers, UAR {report.percent(scores.uar(counts))} %"
    figure = plots.confusion(counts, scores.classes(rows), title).figure
    (corpora.ROOT / "docs").mkdir(exist_ok=True)
    figure.savefig(corpora.ROOT / "docs" / "confusion_cnn.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
