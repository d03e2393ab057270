"""Photograph the report of a study: `python benchmarks/study_picture.py studies/NAME [docs/study_report.png]`.

Three pictures: on a desk in light and in dark colours, and on a phone. Needs `pip install playwright` and a Chromium
(`apt-get install chromium`).
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

LARGEST = 500_000
"""Bytes of a picture; they stand in the documentation."""
PICTURES = (("", 1280, "light"), ("_dark", 1280, "dark"), ("_phone", 390, "light"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="the page, or the study's folder that it is in")
    parser.add_argument("picture", type=Path, nargs="?", default=Path(__file__).parents[1] / "docs/study_report.png")
    parser.add_argument("--height", type=int, default=2400, help="of what is shown, in pixels; 0: the whole page")
    parser.add_argument("--from", dest="section", help="the section at the top, such as neurons")
    options = parser.parse_args()
    report = options.report / "report.html" if options.report.is_dir() else options.report
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium found; apt-get install chromium")
    large = False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for suffix, width, scheme in PICTURES:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            whole = page.evaluate("document.documentElement.scrollHeight")
            top = page.locator(f"#{options.section}").bounding_box()["y"] - 10 if options.section else 0
            height = min(options.height or whole, whole - top)
            picture = options.picture.with_stem(options.picture.stem + suffix)
            clip = {"x": 0, "y": top, "width": width, "height": height}
            page.screenshot(path=picture, clip=clip, full_page=True)
            page.close()
            size = picture.stat().st_size
            large |= size > LARGEST
            print(f"{picture}: {width} x {height} pixels, {size / 1000:.0f} kB")
        browser.close()
    if large:
        sys.exit(f"a picture is larger than {LARGEST / 1000:.0f} kB; take a smaller --height")


if __name__ == "__main__":
    main()
