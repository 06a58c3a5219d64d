"""Templates of pages and cards, next to the module that fills them in."""

from __future__ import annotations

from pathlib import Path

import jinja2


def template(path: Path, *, trim_blocks: bool = False) -> jinja2.Template:
    """Return a template; in `.html` text from the data is escaped, and a name that is not given is an error.

    Parameters
    ----------
    path
        Of the template; others in its folder may be included.
    trim_blocks
        Leave out the line end after a `{% ... %}`.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "page.html").write_text("<p>{{ name }}</p>")
    >>> template(folder / "page.html").render(name="<b>")
    '<p>&lt;b&gt;</p>'
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        autoescape=path.suffix == ".html",
        trim_blocks=trim_blocks,
        keep_trailing_newline=path.suffix == ".md",
    )
    return environment.get_template(path.name)
