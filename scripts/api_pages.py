"""Pages of the API reference in reStructuredText: one per sub-package and module, from their docstrings.

A function that a sub-package exports is documented under that name, the others under the name of their module. No
module is imported here.
"""

import ast
from functools import cache
from pathlib import Path

from ser_utils._utils.files import ROOT

GROUPS = {  # title: sub-packages and modules
    "Recordings": ("audio", "distortions"),
    "Corpora": ("datasets", "datasets.core", "datasets.download"),
    "Features": ("features", "features.spectral", "features.descriptors", "features.store",
                 "features.extra_features", "features.opensmile_functionals", "whisper"),
    "Models": ("models", "models.registry", "models.classifier", "models.networks", "models.linear", "models.augment"),
    "Evaluation": ("evaluation", "evaluation.splits", "evaluation.experiment", "evaluation.metrics",
                   "evaluation.results", "evaluation.tables", "evaluation.split_audit"),
    "Prediction": ("live", "live.predictor", "live.stream", "live.deployed", "live.recorder"),
    "Figures and attribution": ("plotting", "explain")}
MODULES = ["ser_utils", *(f"ser_utils.{name}" for names in GROUPS.values() for name in names)]
DIRECTIVES = {ast.FunctionDef: "autofunction", ast.ClassDef: "autoclass"}


@cache
def parse(module):
    """Syntax tree of a module."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def list_defined(module):
    """List the directive of each public function and class that a module defines."""
    return {node.name: DIRECTIVES[type(node)] for node in parse(module).body
            if type(node) in DIRECTIVES and not node.name.startswith("_")}


def list_exports(module):
    """List module and directive of each function and class that a sub-package imports for its users."""
    if not (ROOT / module.replace(".", "/")).is_dir():
        return {}
    return {alias.name: (node.module, directive) for node in parse(module).body if isinstance(node, ast.ImportFrom)
            for alias in node.names if (directive := list_defined(node.module).get(alias.name))}


def get_public_name(module, name):
    """Full name under which a function or class of a module is documented."""
    package = module.rpartition(".")[0]
    is_exported = package in MODULES and list_exports(package).get(name, ("",))[0] == module
    return f"{package if is_exported else module}.{name}"


def find_reference(path, name):
    """Full name of a function or class in a file of the package, or None if it has no page.

    Examples
    --------
    >>> find_reference(Path("ser_utils/features/store.py"), "load_features")
    'ser_utils.features.load_features'
    """
    module = ".".join(path.with_suffix("").parts)
    return get_public_name(module, name) if module in MODULES and name in list_defined(module) else None


def render():
    """Compute the pages of the API reference, as content by path."""
    folder = Path("docs/api")
    index = [_heading("API reference", "="), "Import functions from the sub-package where it exports them, such as "
             "``from ser_utils.features import load_features``, else from the module.\n"]
    index += [_render_group("Package", ["ser_utils"])]
    index += [_render_group(title, [f"ser_utils.{name}" for name in names]) for title, names in GROUPS.items()]
    return {folder / "index.rst": "\n".join(index)} | {folder / f"{name}.rst": render_module(name) for name in MODULES}


def render_module(module):
    """Compute the page of a sub-package or module: its docstring, a table of its members, and their docstrings."""
    exports = {name: directive for name, (_, directive) in list_exports(module).items()}
    defined = list_defined(module)
    own = {name: directive for name, directive in defined.items()
           if get_public_name(module, name) == f"{module}.{name}"}
    parts = [_heading(module.removeprefix("ser_utils."), "="),
             f".. automodule:: {module}\n   :no-members:\n\n.. currentmodule:: {module}\n"]
    for names in (exports, own):
        if names:
            parts.append(".. autosummary::\n\n" + "".join(f"   {name}\n" for name in names))
    if elsewhere := [get_public_name(module, name) for name in defined if name not in own]:
        parts.append("Documented under the sub-package:\n\n.. autosummary::\n\n"
                     + "".join(f"   ~{name}\n" for name in elsewhere))
    parts += [f".. {directive}:: {name}\n" + "   :members:\n" * (directive == "autoclass")
              for name, directive in (exports | own).items()]
    return "\n".join(parts)


def _render_group(title, modules):
    """Heading, table of contents and one line on each module."""
    lines = [f"- :doc:`{name} <{name}>`: {ast.get_docstring(parse(name)).splitlines()[0]}" for name in modules]
    entries = [f"   {name}" for name in modules]
    return "\n".join([_heading(title, "-"), *lines, "\n.. toctree::\n   :hidden:\n", *entries, ""])


def _heading(title, character):
    return f"{title}\n{character * len(title)}\n"
