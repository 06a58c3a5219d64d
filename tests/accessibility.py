"""What axe-core finds on a page in Chromium: contrast, names, headings, what a keyboard reaches."""

from pathlib import Path

SERIOUS = ("serious", "critical")


def serious(browser, page: Path, *, scheme: str = "light", width: int = 1280) -> list[str]:
    """Return one sentence a serious fault of a page, all of its parts unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    size = {"width": width, "height": 900}
    # The pages allow no script but their own: axe-core is let in, the page is as it is.
    context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    found = Axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
    context.close()
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found if rule["impact"] in SERIOUS]
