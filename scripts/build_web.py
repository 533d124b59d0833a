"""Build the live page into build/web: the files of web/, the deployed models, sample recordings, checksums.

    python scripts/build_web.py [--serve] [--port 8000]

The page is static and works under any path. `--serve` serves it on localhost.
"""

import argparse
import functools
import hashlib
import http.server
import json
import re
import shutil
import sys
from pathlib import Path

from ser_utils._utils.files import ROOT
from ser_utils.datasets.core import EMOTIONS, SAMPLES, load_clips
from ser_utils.live import predictor, stream
from ser_utils.live.deployed import MODELS_FOLDER, load_model

WEB = ROOT / "web"
RUNTIME = "vendor/onnxruntime/ort-wasm-simd-threaded.wasm.gz"
FILES = {"whisper": {"encoder": "whisper_encoder.onnx", "emotion": "whisper_emotion.onnx",
                     "gender": "whisper_gender.onnx"},
         "mfcc": {"emotion": "mfcc_emotion.onnx", "gender": "mfcc_gender.onnx"}}
SPEAKER = "03"  # of the sample recordings
CONSTANTS = {  # web/constants.js
    "WINDOW_DURATION": stream.WINDOW_DURATION, "HOP_DURATION": stream.HOP_DURATION,
    "PEAK_DURATION": stream.PEAK_DURATION, "MIN_PROBABILITY": stream.MIN_PROBABILITY,
    "MIN_DURATION": predictor.MIN_DURATION, "MIN_SPEECH_DURATION": predictor.MIN_SPEECH_DURATION,
    "MIN_PEAK": predictor.MIN_PEAK, "PAUSE_RATIO": 10 ** (predictor.PAUSE_THRESHOLD_DB / 20),
    "EMOTIONS": list(EMOTIONS), "FIVE_EMOTIONS": list(predictor.FIVE_EMOTIONS)}


def describe_file(folder, path, **entries):
    """Describe a file of the page by path, size in bytes and SHA-256."""
    content = (folder / path).read_bytes()
    return {**entries, "path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def describe_models(folder):
    """Describe files, classes and reference statistics of the models; the browser cannot read ONNX metadata."""
    models = {}
    for name, files in FILES.items():
        deployed = load_model(name)
        keys = {"whisper": ("neutral_mean", "adaptation_weight"), "mfcc": ("neutral_mean_std",)}[name]
        models[name] = {
            "files": [describe_file(folder, f"models/{file}", role=role) for role, file in files.items()],
            "classes": deployed.classes, **{key: deployed.metadata[key] for key in keys}}
    return models


def build(folder, documentation="", model_card="models/README.md"):
    """Build the page.

    Parameters
    ----------
    folder : Path
        An earlier build in it is replaced.
    documentation, model_card : str, optional
        Addresses relative to the page, for its links; by default the text of the model card beside the models.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If the folder exists and is not a build of the page.
    """
    if folder.exists():
        if not all((folder / name).is_file() for name in ("sw.js", "models.json")):
            raise ValueError(f"{folder} exists and is not a build of the live page; choose another folder")
        shutil.rmtree(folder)
    for path in WEB.rglob("*"):  # copytree would keep the permissions of a read-only checkout
        if path.is_file():
            (folder / path.relative_to(WEB)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to(WEB))
    (folder / "models").mkdir()
    for file in {"README.md", "LICENSE-whisper.md", *(file for files in FILES.values() for file in files.values())}:
        shutil.copyfile(MODELS_FOLDER / file, folder / "models" / file)
    samples = load_clips(SAMPLES).query("speaker == @SPEAKER")
    (folder / "samples").mkdir()
    shutil.copyfile(SAMPLES.parent / "LICENSE.md", folder / "samples" / "LICENSE.md")
    for file in samples["file"]:
        shutil.copyfile(SAMPLES / file, folder / "samples" / Path(file).name)
    info = {"runtime": describe_file(folder, RUNTIME), "models": describe_models(folder),
            "samples": [{"title": emotion, "path": f"samples/{Path(file).name}"}
                        for emotion, file in zip(samples["emotion"], samples["file"], strict=True)]}
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8").replace("models/README.md", model_card)
    link = f'<a href="{documentation}">Documentation</a> · ' if documentation else ""
    page.write_text(text.replace("<!-- documentation -->", link), encoding="utf-8")
    (folder / "models.json").write_text(json.dumps(info), encoding="utf-8")
    lines = [f"export const {name} = {json.dumps(value)};\n" for name, value in CONSTANTS.items()]
    (folder / "constants.js").write_text("".join(lines), encoding="utf-8")
    add_service_worker(folder)
    return folder


def add_service_worker(folder):
    """Fill in the version and the files that the service worker stores at once: all but runtime, models, samples."""
    shell = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
                   and path.suffix in {".html", ".css", ".js", ".mjs", ".svg", ".json"} and path.name != "sw.js")
    digest = hashlib.sha256(b"".join((folder / path).read_bytes() for path in shell)).hexdigest()[:12]
    worker = folder / "sw.js"
    text = worker.read_text(encoding="utf-8").replace("VERSION", digest)
    worker.write_text(text.replace("SHELL_FILES", json.dumps(["./", *shell])), encoding="utf-8")


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Serve the page with the headers that its service worker adds on other hosts."""

    def end_headers(self):
        """Send the content security policy of the page also for its workers, and isolation, which allows threads."""
        page = (WEB / "index.html").read_text(encoding="utf-8")
        self.send_header("Content-Security-Policy", re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


def main(arguments=None):
    """Build the page, and serve it with --serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/web"), metavar="FOLDER",
                        help="an earlier build in it is replaced (default: build/web)")
    parser.add_argument("--serve", action="store_true", help="serve the page on localhost")
    parser.add_argument("--port", type=int, default=8000, help="port of --serve (default: 8000)")
    options = parser.parse_args(arguments)
    try:
        folder = build(options.out)
    except ValueError as error:
        parser.error(str(error))
    print(f"live page: {folder / 'index.html'}", flush=True)
    if options.serve:
        handler = functools.partial(PageHandler, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler) as server:
            print(f"open http://localhost:{server.server_port}, stop with Ctrl-C", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
