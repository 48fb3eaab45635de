"""Pages from records: tables, the README's results and the chart. Open `pages.py` first.

`benchmarks/records/*.json` hold what was measured, `python -m benchmarks.render` puts it into the
pages and draws the chart, and a test compares the pages with the records.
"""
