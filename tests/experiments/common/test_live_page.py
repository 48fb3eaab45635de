"""The page of a search under way: served while it runs, gone afterwards."""

import urllib.error
import urllib.request

import pytest

from experiments.common.live_page import live_page, rows_table
from tfcompress.reporting.run import open_run
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.results import SearchError


def test_the_newest_table_is_served_and_nothing_else(tmp_path):
    run = open_run(str(tmp_path), "search", "one", {}, False)
    port = free_port(0)
    address = f"http://127.0.0.1:{port}"
    with live_page(run, "A search", port) as renew:
        assert "nothing yet" in urllib.request.urlopen(address).read().decode()
        renew(rows_table([{"trial": 0, "map": 0.25}, {"trial": 1, "state": "pruned"}]))
        answer = urllib.request.urlopen(f"{address}/config.json")
        text = answer.read().decode()
        assert answer.headers["Refresh"] == "10"
        assert text.index("pruned") < text.index("0.25")  # the newest first
        taken = pytest.raises(SearchError, match=f"port {port}: another program")
        with taken, live_page(run, "Another", port):
            pass
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)
    assert not run.path("progress.html").exists()
