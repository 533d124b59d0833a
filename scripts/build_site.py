"""Build the documentation site into build/site: guide, notebooks, results, API reference, live page.

    python scripts/build_site.py              with the notebooks as committed
    python scripts/build_site.py --execute    with freshly executed notebooks

A page shows the last run of `ser evaluate` in build/experiment, if there is one.

The sources are copied to build/site_source in the layout of the repository, so relative links work on both; README.md
becomes the start page. A folder or file that is not part of the site is linked in the repository, if its address is
known: SER_REPOSITORY_URL or the GitHub remote "origin".
"""

import argparse
import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import api_pages
import build_web
from execute_notebooks import NOTEBOOKS, execute_notebooks, list_notebooks

from ser_utils._utils.files import ROOT, run_git
from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import has_predictions, load_predictions, load_summary
from ser_utils.evaluation.tables import format_comparison, format_markdown_table

EXPERIMENT = Path("build/experiment")  # last run of `ser evaluate`
SOURCE_PATTERNS = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/*.png", "docs/badges/*.svg",
    "docs/guide/*.md", "data/README.md", "models/README.md", "results/README.md", "benchmarks/README.md")
TABLE_OF_CONTENTS = {
    "User guide": [f"docs/guide/{name}" for name in ("installation", "prediction", "own_corpus", "own_model",
                                                     "split_audit", "distributed", "reproduction")],
    "Notebooks": ["notebooks/0*", "notebooks/solutions/index"],
    "Results": ["docs/methods", "docs/results", "models/index", "data/index", "results/index", "benchmarks/index"],
    "Reference": ["docs/api/index", "docs/glossary", "CHANGELOG", "CONTRIBUTING", "SECURITY"]}
HTML_REPLACEMENTS = {  # of HTML of Sphinx, theme and pandas that axe rejects
    "<summary>": '<summary aria-label="subpages">',
    '<div id="pst-primary-sidebar"': '<div id="pst-primary-sidebar" role="navigation" aria-label="Site"',
    '<div role="list" class="citation-list">': '<div class="citation-list">', ' role="doc-biblioentry"': "",
    "<th></th>": "<td></td>", '<th class="head"><p></p></th>': "<td></td>"}
EXPERIMENT_INTRODUCTION = """# Last comparison on this machine

The models of the last run of `ser evaluate`, which is part of `make run`, on the clips of speakers that they were not
trained on. UAR (unweighted average recall) is the mean of the recalls of all classes, *chance* the UAR of a constant
prediction ([glossary](../docs/glossary.md)). Scores on a few validation speakers depend on these speakers: the
[published results](../docs/results.md) are scores on the test sets of all folds, with confidence intervals. `make docs`
updates this page after a run of `ser evaluate`.
"""
ATTACHMENT = re.compile(r"(?<=\]\()attachment:([\w.]+)(?=\))")
LINK = re.compile(r"\[([^\[\]]+)\]\((?!https?:|mailto:|attachment:|#)([^)\s#]+)(#[^)\s]*)?\)")  # relative links


def read_remote():
    """Address of the git remote "origin", or "" without git or remote."""
    return run_git("remote", "get-url", "origin")


def get_repository_url():
    """Find the address of the repository: SER_REPOSITORY_URL, or the remote "origin" if it is on GitHub, else ""."""
    if url := os.environ.get("SER_REPOSITORY_URL"):
        return url.rstrip("/").removesuffix(".git")
    match = re.fullmatch(r"(?:https://|git@|ssh://git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", read_remote())
    return f"https://github.com/{match[1]}" if match else ""


def get_site_path(path):
    """Path of a file of the repository within the site sources."""
    return path.with_name("index.md") if path.name == "README.md" else path


def convert_links(text, page, sources, repository_url=""):
    """Point the links of a page to pages of the site, to the API reference, or to the repository.

    Parameters
    ----------
    text : str
        Markdown.
    page : Path
        The page, relative to the repository.
    sources : set of Path
        Files that are part of the site, relative to the repository.
    repository_url : str, optional
        Address of the repository; without it, links to other files lose their target.

    Returns
    -------
    str

    Examples
    --------
    >>> convert_links("[model card](../models/README.md#metrics)", Path("docs/a.md"), {Path("models/README.md")})
    '[model card](../models/index.md#metrics)'
    >>> convert_links("[`delta`](../ser_utils/features/spectral.py)", Path("docs/a.md"), set())
    '{py:obj}`delta <ser_utils.features.delta>`'
    >>> convert_links("[code](../LICENSE)", Path("docs/a.md"), set(), "https://github.com/me/ser")
    '[code](https://github.com/me/ser/blob/main/LICENSE)'
    """
    def convert(match):
        label, address, anchor = match[1], match[2], match[3] or ""
        target = Path(os.path.normpath(page.parent / address))
        if target in sources:
            return f"[{label}]({get_site_path(Path(address)).as_posix()}{anchor})"
        if target == Path("notebooks/solutions"):
            return f"[{label}]({address}/index.md)"
        if target == Path("web/index.html"):
            return f'<a href="{os.path.relpath("live", page.parent)}/index.html">{label}</a>'
        if reference := api_pages.find_reference(target, label.strip("`")):
            return f"{{py:obj}}`{label.strip('`')} <{reference}>`"
        return f"[{label}]({repository_url}/blob/main/{target.as_posix()}{anchor})" if repository_url else label

    return LINK.sub(convert, text)


def convert_notebook(notebook, page, sources, repository_url):
    """Convert a notebook for myst-nb: links, attached images, alternative texts.

    Parameters
    ----------
    notebook : dict
    page, sources, repository_url
        As for `convert_links`.

    Returns
    -------
    dict of Path to str or bytes
        Content of the notebook and of its attached images.
    """
    contents = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for name, image in cell.pop("attachments", {}).items():
                contents[page.with_name(f"{page.stem}_{name}")] = base64.b64decode(image["image/png"])
            source = ATTACHMENT.sub(rf"{page.stem}_\1", "".join(cell["source"]))
            cell["source"] = convert_links(source, page, sources | set(contents), repository_url)
            continue
        # the table of a printed Keras summary leaves an output without text
        cell["outputs"] = [output for output in cell["outputs"]
                           if "".join(output.get("data", {}).get("text/plain", "text")).strip()]
        if alt := cell["metadata"].get("alt"):
            cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    return {page: json.dumps(notebook, ensure_ascii=False), **contents}


def write_sources(folder, executed=None, experiment=None, repository_url=""):
    """Write the sources of the site.

    Parameters
    ----------
    folder : Path
        Replaced if it exists.
    executed : Path, optional
        Folder of executed notebooks, used in place of those of the repository where present.
    experiment : Path, optional
        Folder of an experiment that is shown on a page of its own, if it has predictions.
    repository_url : str, optional
    """
    notebooks = [path.relative_to(ROOT) for path in list_notebooks()]
    sources = {path.relative_to(ROOT) for pattern in SOURCE_PATTERNS for path in ROOT.glob(pattern)} | set(notebooks)
    contents = {}
    for path in sources:
        if path.suffix == ".ipynb":
            file = executed / path.relative_to("notebooks") if executed else ROOT / path
            notebook = json.loads((file if file.is_file() else ROOT / path).read_text(encoding="utf-8"))
            contents |= convert_notebook(notebook, path, sources, repository_url)
        elif path.suffix == ".md":
            text = (ROOT / path).read_text(encoding="utf-8")
            contents[get_site_path(path)] = convert_links(text, path, sources, repository_url)
        else:
            contents[path] = (ROOT / path).read_bytes()
    contents |= api_pages.render()
    table_of_contents = dict(TABLE_OF_CONTENTS)
    if experiment and has_predictions(experiment):
        contents |= render_experiment(experiment)
        table_of_contents["Results"] = ["last_run/index", *table_of_contents["Results"]]
    contents[Path("index.md")] += "".join(
        f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{chr(10).join(names)}\n```\n"
        for caption, names in table_of_contents.items())
    contents[Path("notebooks/solutions/index.md")] = (
        "# Solutions of the exercises\n\n```{toctree}\n:glob:\n:maxdepth: 1\n\n0*\n```\n")
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)


def escape_markdown(value):
    r"""Escape text for Markdown, including HTML.

    Examples
    --------
    >>> escape_markdown("my_model <b>")
    'my\\_model &lt;b&gt;'
    """
    return re.sub(r"([\\`*_{}\[\]|$#~])", r"\\\1", html.escape(" ".join(str(value).split()), quote=False))


def render_experiment(experiment):
    """Compute the page of an experiment: scores, training curves and confusion matrices, as content by path."""
    import matplotlib

    from ser_utils.plotting import use_style

    matplotlib.use("Agg")
    use_style()
    summary = load_summary(experiment)
    corpora = summary["test_corpus"].unique()
    published = load_summary(corpora[0]) if len(corpora) == 1 and has_predictions(corpora[0]) else None
    table, note = format_comparison(summary, published)
    page = [EXPERIMENT_INTRODUCTION, format_markdown_table(table.map(escape_markdown)), f"\n{escape_markdown(note)}\n"]
    folder, contents = Path("last_run"), {}
    for number, (title, text, figure) in enumerate(plot_experiment(experiment)):
        figure.savefig(image := io.BytesIO(), dpi=150, bbox_inches="tight", metadata={"Software": None})
        contents[folder / f"figure_{number}.png"] = image.getvalue()
        title = escape_markdown(title)
        page.append(f"## {title}\n\n![{title}](figure_{number}.png)\n\n{text}\n")
    matplotlib.pyplot.close("all")
    return {folder / "index.md": "\n".join(page), **contents}


def plot_experiment(experiment):
    """Yield title, explanation and figure of the training curves and of each confusion matrix of an experiment."""
    from ser_utils.plotting import plot_confusion_matrix, plot_training_curves

    if curves := json.loads((Path(experiment) / "experiment.json").read_text(encoding="utf-8"))["curves"]:
        yield ("Training curves", "Means over the runs of a model; the number of epochs is set for each model. A "
               "validation loss that rises while the training loss falls indicates overfitting to training speakers.",
               plot_training_curves(curves)[0].figure)
    if has_predictions(experiment, "emotion"):
        for (model, *_), rows in load_predictions(experiment).groupby(metrics.KEYS, sort=False):
            cm = metrics.confusion_matrix(rows)
            ax = plot_confusion_matrix(cm, metrics.get_class_names(rows), f"{model}: % of the true class (clips)")
            yield (f"Confusion matrix: {model}", "Each row is a true emotion: the percentage of its clips that were "
                   "classified as the emotion of the column, and their number.", ax.figure)


def run_sphinx(site, sources, repository_url=""):
    """Build the pages from scratch; returns whether there was neither an error nor a warning."""
    for folder in (site, site.with_name("jupyter_execute")):  # an interrupted build may have left incomplete pages
        shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--conf-dir", ROOT / "docs", "--fresh-env",
               "--doctree-dir", site.with_name("site_doctrees"), "--fail-on-warning", sources, site]
    if not sys.stdout.isatty():  # in a terminal, Sphinx shows its progress on one line
        command.append("--quiet")
    # Sphinx stops at a locale that is not installed
    environment = os.environ | {"SER_REPOSITORY_URL": repository_url, "LC_ALL": "C", "PYTHONUTF8": "1"}
    return subprocess.run(command, check=False, env=environment).returncode == 0


def build(site, sources, repository_url=""):
    """Build the site with the live page; returns whether there was neither an error nor a warning."""
    is_clean = run_sphinx(site, sources, repository_url)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for found, replacement in HTML_REPLACEMENTS.items():
            text = text.replace(found, replacement)
        page.write_text(text, encoding="utf-8")
    build_web.build(site / "live", documentation="../index.html", model_card="../models/index.html")
    return is_clean


def main(arguments=None):
    """Run the command line; returns 1 if a notebook failed or the site has warnings, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", action="store_true", help="execute the notebooks into build/notebooks")
    options = parser.parse_args(arguments)
    folder, succeeded, executed = Path("build"), True, None
    if options.execute:
        executed = (folder / "notebooks").resolve()
        notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
        succeeded = execute_notebooks(notebooks, [executed / path.relative_to(NOTEBOOKS) for path in notebooks])
    url = get_repository_url()
    write_sources(folder / "site_source", executed, EXPERIMENT, url)
    succeeded &= build(folder / "site", folder / "site_source", url)
    page = "last_run/index.html" if options.execute and has_predictions(EXPERIMENT) else "index.html"
    print(f"open {folder / 'site' / page} in a browser")
    return int(not succeeded)


if __name__ == "__main__":
    sys.exit(main())
