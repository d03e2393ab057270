"""Photograph a report of `sparring attack`: `python benchmarks/report_picture.py attacks [docs/attack_report.png]`.

Needs `pip install playwright` and a Chromium (`apt-get install chromium`).
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

LARGEST = 400_000
"""Bytes; the picture stands in the documentation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="the page, or the folder of attacks that it is in")
    parser.add_argument("picture", type=Path, nargs="?", default=Path(__file__).parents[1] / "docs/attack_report.png")
    parser.add_argument("--width", type=int, default=1280, help="of the window, in pixels")
    parser.add_argument("--examples", type=int, default=4, help="how many of the list are in the picture")
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    report = options.report / "report.html" if options.report.is_dir() else options.report
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium found; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        scheme = "dark" if options.dark else "light"
        page = browser.new_page(viewport={"width": options.width, "height": 800}, color_scheme=scheme)
        page.goto(report.resolve().as_uri())
        page.click("[data-status=success]")
        page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
        examples = page.locator(".example")
        box = examples.nth(min(options.examples, examples.count()) - 1).bounding_box()
        height = int(box["y"] + box["height"] + 20) if box else 1600
        page.set_viewport_size({"width": options.width, "height": height})
        page.mouse.move(0, 0)
        page.screenshot(path=options.picture)
        browser.close()
    size = options.picture.stat().st_size
    print(f"{options.picture}: {options.width} x {height} pixels, {size / 1000:.0f} kB")
    if size > LARGEST:
        sys.exit(f"that is more than {LARGEST / 1000:.0f} kB; take fewer --examples or a smaller --width")


if __name__ == "__main__":
    main()
