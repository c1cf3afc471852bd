"""What browsers are given besides pages: vendored files as they were taken, and nothing against the policy."""

import hashlib
import re
from typing import Final

from console.web.rendering import STATIC, TEMPLATES, static_url
from tests.web.browser import Web

ROW: Final = re.compile(r"^\| `(?P<file>[^`]+)` \|.*\| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)
OURS: Final = ("console.js", "charts.js", "theme.js", "typed.js")


def test_vendored_files_are_as_their_page_says_and_each_has_its_row() -> None:
    told = {row["file"]: row["sha256"] for row in ROW.finditer((STATIC / "VENDORED.md").read_text())}
    found = {
        file.relative_to(STATIC).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (STATIC / "vendor").iterdir()
    }
    assert found == told


def test_no_page_brings_script_or_style_of_its_own_or_from_elsewhere() -> None:
    for file in TEMPLATES.glob("*.html"):
        text = file.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on|hx-vals=.js|javascript:", text), file.name
        assert not re.search(r"<script(?![^>]* src=)", text), file.name
        assert not re.search(r"(?:src|href)=.(?:https?:)?//", text), file.name
        # Filters in brackets would be compiled as code, which the policy forbids.
        assert not re.search(r"hx-trigger=\"[^\"]*\[", text), file.name
    assert '"includeIndicatorCSS":false' in (TEMPLATES / "base.html").read_text()
    for name in OURS:
        text = (STATIC / name).read_text()
        assert not re.search(r"innerHTML|insertAdjacentHTML|eval\(|new Function|document\.write", text), name


def test_the_style_sheet_knows_both_themes_alike() -> None:
    css = (STATIC / "console.css").read_text()
    system, chosen = (
        re.findall(r"--[a-z0-9-]+: [^;]+;", css.split(start)[1].split("}")[0])
        for start in (':root:not([data-theme="light"]) {', ':root[data-theme="dark"] {')
    )
    assert system == chosen
    light = css.split(":root {")[1].split("}")[0]
    assert {each.partition(":")[0] for each in chosen} <= set(re.findall(r"(--[a-z0-9-]+):", light))
    assert "prefers-reduced-motion" in css
    assert ":focus-visible" in css


async def test_files_are_kept_for_ever_under_their_content_and_nothing_else_is_served(web: Web) -> None:
    browser = web.browser()
    for file in (
        "console.css",
        "console.js",
        "vendor/htmx-4.0.1.min.js",
        "vendor/uplot-1.6.32.min.css",
        "icon.svg",
    ):
        answer = await browser.get(static_url(file))
        assert answer.status_code == 200, file
        assert "immutable" in answer.headers["cache-control"]
    for name in ("../app.py", "vendor/../../app.py", "%2e%2e/app.py", "VENDORED.md", "vendor", "nobody.js"):
        assert (await browser.get(f"/static/{name}")).status_code == 404, name
