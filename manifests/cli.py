"""The `shards` command: look at runs and datasets, judge them and check them.

Exit codes: 0 done and whole, 1 faults or a difference found, 2 wrong use or nothing there.
"""

from __future__ import annotations

import typer

from manifests.inspection import cli_check, cli_media, cli_page, cli_tables

app = typer.Typer(
    name="shards",
    no_args_is_help=True,
    help="Look at runs and datasets, judge them and check them.",
    pretty_exceptions_enable=False,
)


@app.callback()
def shards() -> None:
    """Look at runs and datasets, judge them and check them."""


app.command("ls", epilog=cli_tables.LS_EXAMPLE)(cli_tables.list_places)
app.command("stats", epilog=cli_tables.STATS_EXAMPLE)(cli_tables.stats)
app.command("diff", epilog=cli_tables.DIFF_EXAMPLE)(cli_tables.diff)
app.command("what-if", epilog=cli_tables.WHAT_IF_EXAMPLE)(cli_tables.what_if_gates)
app.command("sample", epilog=cli_tables.SAMPLE_EXAMPLE)(cli_tables.sample)
app.command("show", epilog=cli_media.SHOW_EXAMPLE)(cli_media.show)
app.command("sheet", epilog=cli_media.SHEET_EXAMPLE)(cli_media.sheet)
app.command("plot", epilog=cli_media.PLOT_EXAMPLE)(cli_media.plot)
app.command("extract", epilog=cli_media.EXTRACT_EXAMPLE)(cli_media.extract)
app.command("report", epilog=cli_page.REPORT_EXAMPLE)(cli_page.report)
app.command("serve", epilog=cli_page.SERVE_EXAMPLE)(cli_page.serve)
app.command("index", epilog=cli_check.INDEX_EXAMPLE)(cli_check.index)
app.command("verify", epilog=cli_check.VERIFY_EXAMPLE)(cli_check.verify)


def main() -> None:
    """Run the `shards` command."""
    app()
