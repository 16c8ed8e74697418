"""Measures how smoothly the playground draws while it trains, in the system's Chromium.

    python -m benchmarks.playground [--seconds 5]

Counts the page's animation frames while a network trains. The browser draws at most 60 per second,
without a graphics card; `busy` is the share of the time in which the page's own scripts run.
"""

import shutil

import click
from playwright.sync_api import CDPSession, Page, sync_playwright

from benchmarks.structure import http_server
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig

NETWORKS = {
    "as it opens": "",
    "spiral, 8-8": "#data=spiral&layers=8-8&optimizer=Adam&rate=0.03&features=x-y-sin+x-sin+y",
    "spiral, 8-8-8-8": "#data=spiral&layers=8-8-8-8&optimizer=Adam&rate=0.03&features=x-y",
    "digits, 16": "#data=digits&layers=16&rate=0.3",
    "digits, 24-24-24-24": "#data=digits&layers=24-24-24-24&rate=0.3",
}
# Counts frames in the page, and the time between the first and the last of them.
COUNT = """seconds => new Promise((resolve) => {
  const [start, times] = [performance.now(), []];
  const count = (now) => {
    times.push(now);
    if (performance.now() - start < 1000 * seconds) requestAnimationFrame(count);
    else resolve(1000 * (times.length - 1) / (times.at(-1) - times[0]));
  };
  requestAnimationFrame(count);
})"""


@click.command()
@click.option("--seconds", default=5.0, help="Duration of each count.")
@click.option("--runs", default=3, help="Counts of each network; the table has their median.")
def main(seconds: float, runs: int) -> None:
    """Count frames and print a Markdown table."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise click.ClickException("There is no Chromium: install it, e.g. with apt-get.")
    click.echo("| network | frames per second | busy |")
    click.echo("| --- | --- | --- |")
    # The page needs no model.
    app = create_app(GatewayConfig())
    with http_server(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, hash_ in NETWORKS.items():
            page = browser.new_page()
            page.goto(f"{url}/playground{hash_}")
            page.get_by_role("button", name="Train", exact=True).click()
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            counts = sorted(_count(page, session, seconds) for _ in range(runs))
            frames, busy = counts[runs // 2]
            click.echo(f"| {name} | {frames:.0f} | {busy:.0%} |")
            page.close()
        browser.close()


def _count(page: Page, session: CDPSession, seconds: float) -> tuple[float, float]:
    """Return the frames per second, and the share of the time in which the page's thread works."""
    before = _metrics(session)
    frames: float = page.evaluate(COUNT, seconds)
    after = _metrics(session)
    elapsed = after["Timestamp"] - before["Timestamp"]
    return frames, (after["TaskDuration"] - before["TaskDuration"]) / elapsed


def _metrics(session: CDPSession) -> dict[str, float]:
    found = session.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in found}


if __name__ == "__main__":
    main()
