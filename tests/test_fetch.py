"""Corpora fetched from a server that breaks off, lies and sends what it should not."""

import hashlib
import io
import stat
import threading
import warnings
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import MINIATURE
from ser_utils import cli, corpora, fetch

KNOWN = corpora.CORPORA["ravdess"]


def zipped(files):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


GOOD = zipped({f"Actor_02/{path.name}": path.read_bytes() for path in sorted((MINIATURE / "Actor_02").iterdir())[:4]})


class Server(BaseHTTPRequestHandler):
    """Sends `body` under every name, but breaks off the first `broken` times."""

    body, broken, asked = GOOD, 0, 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body[:len(self.body) // 2] if self.asked <= self.broken else self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A function that gives the corpus of a body served after so many broken answers."""
    started = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=started.serve_forever, daemon=True).start()
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits before it tries again

    def corpus(body=GOOD, broken=0, checksum=None):
        Server.body, Server.broken, Server.asked = body, broken, 0
        return replace(KNOWN, url=f"http://127.0.0.1:{started.server_port}/speech.zip",
                       checksum=checksum or f"md5:{hashlib.md5(body).hexdigest()}")

    yield corpus
    started.shutdown()
    started.server_close()


def test_what_is_published_arrives_whole_and_alone(server, tmp_path):
    folder = fetch.fetch(server(), tmp_path / "raw" / "ravdess", progress=False)
    assert folder == tmp_path / "raw" / "ravdess"
    assert len(corpora.recordings(folder)) == 4
    assert [path.name for path in folder.parent.iterdir()] == ["ravdess"]  # no archive, nothing partial
    with pytest.raises(fetch.FetchError, match="is there and not empty; remove it"):
        fetch.fetch(server(), folder, progress=False)


def test_a_broken_download_is_tried_again(server, tmp_path):
    fetch.fetch(server(broken=2), tmp_path / "ravdess", progress=False)
    assert Server.asked == 3
    with pytest.raises(fetch.FetchError, match=r"not to be had, 4 times.*zenodo"):
        fetch.fetch(server(broken=99), tmp_path / "again", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["ravdess"]


def test_another_content_than_published_is_thrown_away(server, tmp_path):
    with pytest.raises(fetch.FetchError, match="not what was published"):
        fetch.fetch(server(checksum=KNOWN.checksum), tmp_path / "ravdess", progress=False)
    assert list(tmp_path.iterdir()) == []


def link(target):
    one = zipfile.ZipInfo("Actor_01/link")
    one.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {one: target}


@pytest.mark.parametrize("files", [
    {"../out.wav": b"x"}, {"/tmp/out.wav": b"x"}, {"Actor_01/../../out.wav": b"x"}, {"C:\\out.wav": b"x"},
    {"..\\out.wav": b"x"}, link("/etc/passwd")], ids=str)
def test_what_would_leave_the_folder_is_refused(server, tmp_path, files):
    with pytest.raises(fetch.FetchError, match="do not trust it"):
        fetch.fetch(server(zipped({"good.wav": b"x"} | files)), tmp_path / "a" / "ravdess", progress=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", ".ravdess.partial", "speech.zip"]


def test_a_bomb_is_refused_before_it_goes_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_BYTES", 10 ** 6)
    with pytest.raises(fetch.FetchError, match="more than any corpus"):
        fetch.fetch(server(zipped({"a.wav": bytes(2 * 10 ** 6)})), tmp_path / "ravdess", progress=False)
    monkeypatch.setattr(fetch, "MOST_FILES", 3)
    with pytest.raises(fetch.FetchError, match="more than any corpus"):
        fetch.fetch(server(), tmp_path / "ravdess", progress=False)
    assert not (tmp_path / "ravdess").exists()


def test_a_zip_that_lies_about_its_size_or_is_none(server, tmp_path):
    body = zipped({"a.wav": bytes(10 ** 5)})
    at = body.rindex(b"PK\x01\x02") + 24  # in the directory: how large the file is unpacked
    for bad in (body[:at] + (10).to_bytes(4, "little") + body[at + 4:], b"no zip", body[:-30]):
        with pytest.raises(fetch.FetchError, match="no readable zip"):
            fetch.fetch(server(bad), tmp_path / "ravdess", progress=False)
        assert [path.name for path in tmp_path.rglob("*")] == [".ravdess.partial", "speech.zip"]
        (tmp_path / ".ravdess.partial" / "speech.zip").unlink()


def test_the_commands(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(corpora.CORPORA, "ravdess", server())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["fetch", "ravdess", str(tmp_path / "here")]) == 0
    said, warned = capsys.readouterr()
    assert "4 clips where 1440 were published" in warned
    assert "CC BY-NC-SA 4.0" in said
    assert cli.main(["fetch", "savee", str(tmp_path / "savee")]) == 2
    said = capsys.readouterr().err
    assert "register at" in said
    assert str(tmp_path / "savee") in said
    assert "Haq S" in said
    assert cli.main(["corpora"]) == 0
    said = capsys.readouterr().out
    assert all(known.title in said for known in corpora.CORPORA.values())
