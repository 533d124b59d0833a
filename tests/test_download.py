"""Download and extraction of archives from a local server: interrupted transfers, wrong checksums, unsafe content."""

import hashlib
import io
import stat
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ser_utils.datasets import DATASETS, core, download

RAVDESS = DATASETS["ravdess"]


def zip_bytes(files):
    """A zip archive with the given content by name."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


ARCHIVE = zip_bytes({f"Actor_02/03-01-0{emotion}-01-01-01-02.wav": bytes(1000) for emotion in (1, 2, 3, 4)})


class Handler(BaseHTTPRequestHandler):
    """Responds with `body`, and with only half of it to the first `n_interrupted` requests."""

    body, n_interrupted, n_requests = ARCHIVE, 0, 0

    def do_GET(self):
        type(self).n_requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body[:len(self.body) // 2] if self.n_requests <= self.n_interrupted else self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """A function that serves an archive and returns its dataset."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits before a retry

    def dataset(body=ARCHIVE, n_interrupted=0, checksum=None):
        Handler.body, Handler.n_interrupted, Handler.n_requests = body, n_interrupted, 0
        return replace(RAVDESS, url=f"http://127.0.0.1:{server.server_port}/speech.zip",
                       checksum=checksum or f"md5:{hashlib.md5(body).hexdigest()}")

    yield dataset
    server.shutdown()
    server.server_close()


def test_download_command_leaves_only_the_complete_folder(serve, tmp_path, monkeypatch, run_cli):
    monkeypatch.setitem(DATASETS, "ravdess", serve())
    folder = tmp_path / "raw" / "ravdess"
    status, stdout, _ = run_cli("download", "ravdess", folder)
    assert (status, "CC BY-NC-SA 4.0" in stdout) == (0, True)
    assert len(core.find_recordings(folder)) == 4
    assert [path.name for path in folder.parent.iterdir()] == ["ravdess"]
    with pytest.raises(download.DownloadError, match="not empty"):
        download.download(serve(), folder, progress=False)


def test_download_retries_interrupted_transfers(serve, tmp_path):
    download.download(serve(n_interrupted=2), tmp_path / "ravdess", progress=False)
    assert Handler.n_requests == 3
    with pytest.raises(download.DownloadError, match=r"failed 4 times.*zenodo"):
        download.download(serve(n_interrupted=99), tmp_path / "again", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["ravdess"]


def test_download_resumes_from_a_complete_archive(serve, tmp_path, monkeypatch):
    dataset, unpack_zip = serve(), download.unpack_zip
    monkeypatch.setattr(download, "unpack_zip", lambda *_, **__: pytest.fail("interrupted"))
    with pytest.raises(BaseException, match="interrupted"):
        download.download(dataset, tmp_path / "ravdess", progress=False)
    monkeypatch.setattr(download, "unpack_zip", unpack_zip)
    download.download(dataset, tmp_path / "ravdess", progress=False)
    assert Handler.n_requests == 1


def test_download_rejects_wrong_checksum(serve, tmp_path):
    with pytest.raises(download.DownloadError, match=RAVDESS.checksum):
        download.download(serve(checksum=RAVDESS.checksum), tmp_path / "ravdess", progress=False)
    assert list(tmp_path.iterdir()) == []


LINK = zipfile.ZipInfo("Actor_01/link")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize("name", ["../out.wav", "/tmp/out.wav", "Actor_01/../../out.wav", "C:\\out.wav", "..\\out.wav",
                                  LINK, "oversized", "many"], ids=str)
def test_unpack_zip_rejects_unsafe_archives(tmp_path, monkeypatch, name):
    """Unsafe: members outside the folder, links, more bytes or more files than any corpus."""
    monkeypatch.setattr(download, "MAX_BYTES", 11 if name == "oversized" else 12)
    monkeypatch.setattr(download, "MAX_FILES", 1 if name == "many" else 2)
    (tmp_path / "a.zip").write_bytes(zip_bytes({"good.wav": b"x", name: b"/etc/passwd"}))
    with pytest.raises(download.DownloadError, match="do not use it"):
        download.unpack_zip(tmp_path / "a.zip", tmp_path / "b" / "ravdess", progress=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def test_damaged_archive_is_not_unpacked(serve, tmp_path):
    body = zip_bytes({"a.wav": bytes(10 ** 5)})
    size = body.rindex(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    for content in (body[:size] + (10).to_bytes(4, "little") + body[size + 4:], b"not a zip", body[:-30]):
        with pytest.raises(download.DownloadError, match="not a readable zip"):
            download.download(serve(content), tmp_path / "ravdess", progress=False)
        assert [path.name for path in tmp_path.rglob("*")] == [".ravdess.partial", "speech.zip"]
        (tmp_path / ".ravdess.partial" / "speech.zip").unlink()
