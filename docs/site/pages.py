"""One page for each family of losses, with pictures, made when the site is built."""

import importlib
import inspect
import pathlib
import sys

import mkdocs_gen_files

sys.path.insert(0, str(pathlib.Path(__file__).parent))
drawn = importlib.import_module("drawn")
families = importlib.import_module("families")
pictures = importlib.import_module("pictures")
jaxloss = importlib.import_module("jaxloss")


def summary(name: str) -> str:
    return (inspect.getdoc(getattr(jaxloss, name)) or "").partition("\n")[0]


overview = [
    "# Losses",
    "",
    "What the names have in common: [contracts](../contracts.md).",
    "",
]
nav = ["* [All](index.md)"]
for heading, names in families.families().items():
    names = [name for name in names if callable(getattr(jaxloss, name))]
    if not names:
        continue
    page = f"{families.slug(heading)}.md"
    nav.append(f"* [{heading}]({page})")
    overview += [f"## [{heading}]({page})", "", "| | |", "| --- | --- |"]
    overview += [
        f"| [`{name}`]({page}#jaxloss.{name}) | {summary(name)} |" for name in names
    ]
    overview.append("")
    with mkdocs_gen_files.open(f"losses/{page}", "w") as file:
        print(f"# {heading}\n", file=file)
        for name in names:
            print(f"::: jaxloss.{name}\n", file=file)
            if name in drawn.CUTS:
                alt = f"{name}: the loss and its gradient"
                print(f"![{alt}](pictures/{name}.svg)\n", file=file)
for name, cut in drawn.CUTS.items():
    with mkdocs_gen_files.open(f"losses/pictures/{name}.svg", "wb") as file:
        file.write(pictures.draw(cut))
for path, lines in (("losses/index.md", overview), ("losses/NAV.md", nav)):
    with mkdocs_gen_files.open(path, "w") as file:
        print("\n".join(lines), file=file)
