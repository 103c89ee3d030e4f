"""A server of files on this machine, with the faults of servers."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files``, by name, on 127.0.0.1; a request for one takes the next of its ``faults``, if any is left.

    A fault is a dict of: ``status``, sent without a body; ``stop``, break off after so many bytes; ``announce``, so
    many bytes more than there are; ``hang``, wait for the end of the test after so many bytes.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[dict]] = defaultdict(list)
        self.ranges = True  # whether it sends parts of files
        self.requests: list[tuple[str, int]] = []  # name and first byte of what was asked for
        self.over = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        name = self.path.strip("/")
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.server.ranges else 0
        self.server.requests.append((name, int(asked[1]) if asked else 0))
        faults = self.server.faults[name]
        fault = faults.pop(0) if faults else {}
        if name not in self.server.files or "status" in fault:
            self.send_error(fault.get("status", 404))
            return
        whole = self.server.files[name]
        body = whole[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) + fault.get("announce", 0)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        if "hang" in fault:
            self.wfile.write(body[: fault["hang"]])
            self.wfile.flush()
            self.server.over.wait()
            return
        self.wfile.write(body[: fault.get("stop", len(body))])

    def log_message(self, *arguments: object) -> None:
        """Nothing: the tests look at ``requests``."""


@contextmanager
def serving() -> Iterator[FileServer]:
    """A running server."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
