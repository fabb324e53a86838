"""Formulas as MathML, made while the site is built: browsers draw it natively, so no page loads an external script."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)


def mathml(latex: str, display: str, node: nodes.Node) -> str:
    r"""Return a formula as MathML, ``inline`` or ``block``; one that cannot be converted is a warning.

    latex2mathml does not know ``aligned``, which is `split` outside a numbered equation.
    """
    try:
        return convert(latex.replace("{aligned}", "{split}"), display=display)
    except Exception as error:
        log.warning("formula %s cannot be converted: %r", latex, error, location=node)
        return f"<code>{latex}</code>"


def inline(writer: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    writer.body.append(mathml(node.astext(), "inline", node))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(f'<div class="math">{mathml(node.astext(), "block", node)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; ``html_math_renderer = "mathml"`` selects it."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
