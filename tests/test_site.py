"""The documentation as readers see it: built, opened in a browser at two widths, nothing fetched from elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("index", "choose", "fidelity", "mixed-equilibrium", "methods/mat", "api/methods")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    pytest.importorskip("mkdocs", reason="the site was not built: pip install 'sparring[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def opened(browser, site, name, width):
    """A page, and all addresses that it asked for."""
    path = site / ("index.html" if name == "index" else f"{name}/index.html")
    page, asked = browser.new_page(viewport={"width": width, "height": 900}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    return page, asked


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_the_window_and_nothing_comes_from_elsewhere(browser, site, name, width):
    page, asked = opened(browser, site, name, width)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = page.evaluate("document.querySelector('.md-content').getBoundingClientRect().right")
    assert inside <= width + 1
    assert all(url.startswith((site.as_uri(), "data:", "blob:")) for url in asked), asked
    page.close()


def test_formulas_are_mathml_and_none_is_left_as_source(browser, site):
    page, _ = opened(browser, site, "mixed-equilibrium", 1280)
    assert page.locator("math").count() > 80
    text = page.inner_text(".md-content")
    assert "\\" not in text and "arithmatex" not in page.content()
    page.close()
