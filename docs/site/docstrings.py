"""Docstrings as the site needs them: formulas in Markdown, results with their type."""

import re
import textwrap

import griffe

DISPLAYED = re.compile(r"^( *)\.\. math::\n((?:\1 +.*\n|\s*\n)+)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
RETURNS = re.compile(r"^( *Returns:\n +)(?=\S)", re.MULTILINE)


def markdown(text: str) -> str:
    """`.. math::` and `:math:` as `\\[ \\]` and `\\( \\)`."""

    def displayed(match: re.Match[str]) -> str:
        indent, body = match.groups()
        formula = textwrap.dedent(body).strip()
        block = f"\\[\n{formula}\n\\]\n\n"
        return textwrap.indent(block, indent)

    text = DISPLAYED.sub(displayed, text + "\n")
    return INLINE.sub(lambda m: rf"\({m[1]}\)".replace("\n", " "), text)


class Formulas(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        # What comes before a first colon would be taken for the type.
        if func.docstring is not None and func.returns is not None:
            typed = rf"\g<1>{func.returns}: "
            func.docstring.value = RETURNS.sub(typed, func.docstring.value, count=1)
