"""Sphinx's configuration of the site; `python -m helpers site` puts it beside the pages."""

from pathlib import Path

project = "SQLite under threads"
author = ""
language = "en"
html_title = project
extensions = ["myst_nb", "sphinx.ext.githubpages"]

# The outputs are those that are stored.
nb_execution_mode = "off"
nb_render_markdown_format = "gfm"
myst_enable_extensions = []
myst_heading_anchors = 4
myst_heading_slug_func = "helpers.commands.site_pages.slug"
# A message keeps its quotation marks, or a search would not find it.
smartquotes = False

html_theme = "furo"
html_theme_options = {"navigation_with_keys": False}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def _level(app, page, template, context, doctree):
    """Headings above the contents have a level: Sphinx leaves it out."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading">', 'role="heading" aria-level="2">'
    )


def setup(app):
    """After the theme has made the contents."""
    app.connect("html-page-context", _level, priority=900)
