"""Run the notebooks, each in a process of its own, and render them as pages: `make run` does.

python tools/notebooks.py [--out build/report] [--kept build/notebooks]   run copies, render them and the report
python tools/notebooks.py --in-place [NOTEBOOK ...]                       run the notebooks themselves, to be committed
"""

import argparse
import os
import re
import sys
import warnings
from pathlib import Path

import pages as site

from ser_utils import corpora

FOLDER = corpora.ROOT / "notebooks"
FIGURE = "Figure: the text after it says what it shows"


def notebooks():
    """The numbered notebooks and their worked solutions, in reading order. list of Path"""
    return sorted(FOLDER.glob("*.ipynb")) + sorted((FOLDER / "solutions").glob("*.ipynb"))


def execute(path, out):
    """Run one notebook where it stands, top to bottom, and write it to `out`, whole or as far as it came.

    Raises
    ------
    papermill.PapermillExecutionError
        When a cell fails: which, and with what.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # papermill's own, of other packages' coming versions
        import papermill

        os.environ["TQDM_DISABLE"] = "1"  # bars inside the notebooks; papermill's own is told below
        papermill.execute_notebook(path, out, cwd=path.parent, progress_bar={"disable": False, "desc": path.stem},
                                   extra_arguments=["--log-level=ERROR"])


def tidy(path):
    """Leave out what differs from run to run, so that a notebook executed twice is the same file."""
    import nbformat

    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    nbformat.write(notebook, path)


def page_of(path, out):
    """Where a notebook's page goes, its first heading and its question."""
    import nbformat

    first = nbformat.read(path, nbformat.NO_CONVERT).cells[0].source
    question = re.search(r"\*\*Question\W+(.+)", first)
    return site.Page(out / path.relative_to(FOLDER).with_suffix(".html"), re.search(r"^# (.+)", first).group(1),
                       question.group(1) if question else "")


def render(path, page, pages):
    """One executed notebook as a page that asks no other host for anything."""
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_filename(str(path))
    body = re.sub(r'(href="(?:\.\./|solutions/)?\d\d_\w+)\.ipynb', r"\1.html", body)
    body = accessible(body)
    code = HtmlFormatter(style="default").get_style_defs(".highlight")
    site.render(page.path, page.title, pages, body=f"<style>{code}</style>{body}")


def accessible(body):
    """What nbconvert leaves out for those who do not see or use a mouse: names of figures, of tables and their corners,
    and a way into what scrolls.
    """
    names = {'alt="No description has been provided for this image"': f'alt="{FIGURE}"', "<th></th>": "<td></td>",
             '<div class="input_area"': '<div tabindex="0" role="group" aria-label="Code" class="input_area"',
             "<audio ": '<audio aria-label="Recording" '}
    for old, new in names.items():
        body = body.replace(old, new)
    return re.sub(r'<div (class="[^"]*output_subarea)', r'<div tabindex="0" role="group" aria-label="Output" \1', body)


def render_all(chosen, kept, out):
    """The pages of these notebooks, as executed in `kept`, and the report's index. Returns the path of the index."""
    made = [page_of(path, out) for path in chosen]
    pages = [page for page in made if page.path.parent == out]  # solutions are linked from their notebooks
    for path, page in zip(chosen, made, strict=True):
        render(kept / path.relative_to(FOLDER), page, pages)
    return site.index(out, *site.read_live(), pages=pages)


def main(arguments=None):
    """Returns the exit status: 0, or 1 when a notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="*", type=Path, help="default: all")
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/report"))
    parser.add_argument("--kept", type=Path, default=Path("build/notebooks"))
    options = parser.parse_args(arguments)
    chosen, failed = [path.resolve() for path in options.notebook] or notebooks(), []
    import papermill

    for path in chosen:
        out = path if options.in_place else options.kept / path.relative_to(FOLDER)
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            execute(path, out)
        except papermill.PapermillExecutionError as error:
            failed.append(path.stem)
            print(error, file=sys.stderr)
        if options.in_place:
            tidy(out)
    if not options.in_place:
        print(f"report: {render_all(chosen, options.kept, options.out)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
