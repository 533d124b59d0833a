"""The documents: every generated number is up to date, and a missing marker is reported."""

import pytest
import update_documents

from ser_utils._utils.files import ROOT


def test_documents_are_up_to_date():
    """If this fails, run scripts/update_documents.py."""
    for path, markers in update_documents.compute_markers().items():
        content = path.read_text(encoding="utf-8")
        for name, text in markers.items():
            assert update_documents.replace_markers(path, {name: text}) == content, f"{path.name}: {name}"
    for path, content in update_documents.draw_badges().items():
        assert path.read_text(encoding="utf-8") == content
    assert update_documents.render_results_page() == (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_replace_markers_inserts_text_and_blocks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("UAR <!-- uar -->old<!-- /uar --> %\n<!-- table --><!-- /table -->\n")
    content = update_documents.replace_markers(path, {"uar": r"65.0 \1", "table": "| a |\n| b |"})
    assert content == "UAR <!-- uar -->65.0 \\1<!-- /uar --> %\n<!-- table -->\n| a |\n| b |\n<!-- /table -->\n"
    with pytest.raises(ValueError, match=r"page\.md: marker 'missing'"):
        update_documents.replace_markers(path, {"missing": "65.0"})
