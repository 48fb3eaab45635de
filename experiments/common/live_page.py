"""The progress page of a running search, on loopback; the browser reloads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table
from tfcompress.tuning.checks import free_port

RENEWED = 10
"""Seconds between two reloads."""


@contextmanager
def live_page(run: Run, title: str, port: int) -> Iterator[Callable[[Table], None]]:
    """Serve a page while the block runs; it is removed and the port closed afterwards.

    Args:
        run: Run whose `progress.html` is the page.
        title: Heading of the page.
        port: Port on 127.0.0.1; 0: a free one.

    Yields:
        A function that takes the newest table.

    Raises:
        SearchError: Another program listens on the port.
    """
    page = run.path("progress.html")

    def show(table: Table) -> None:
        summary = f"Running; this page reloads every {RENEWED} seconds."
        write_page(page, title, summary, [Section("So far", tables=(table,))], {}, {})

    server = ThreadingHTTPServer(("127.0.0.1", free_port(port)), _handler(page))
    Thread(target=server.serve_forever, daemon=True, name="live-page").start()
    show(Table(("nothing yet",)))
    run.print(f"progress: http://127.0.0.1:{server.server_port}")
    try:
        yield show
    finally:
        server.shutdown()
        server.server_close()
        page.unlink(missing_ok=True)


def rows_table(rows: Sequence[Mapping[str, float | str]]) -> Table:
    """Rows of a history as a table, the newest first."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(columns)
    for row in reversed(rows):
        values = [row.get(name, "") for name in columns]
        table.add(*(v if isinstance(v, str) else f"{v:,.5g}" for v in values))
    return table


def _handler(page: Path) -> type[BaseHTTPRequestHandler]:
    """A request handler that answers every path with the one page."""

    class OnePage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send the page as it is now."""
            content = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Refresh", str(RENEWED))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep requests out of the terminal."""

    return OnePage
