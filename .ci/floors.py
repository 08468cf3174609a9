"""Print the lowest version of each requirement of a pyproject.toml, as constraints for pip.

pip then takes exactly these, or says which of them can't be had together.
"""

import re
import sys
import tomllib
from pathlib import Path


def floors(pyproject):
    """Return a line ``name==version`` for each requirement and extra of a pyproject.toml (its text)."""
    project = tomllib.loads(pyproject)["project"]
    wanted = project["dependencies"] + [r for e in project["optional-dependencies"].values() for r in e]
    lines = []
    for requirement in wanted:
        found = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", requirement)
        if found:
            lines.append("{}=={}".format(*found.groups()))
        elif not requirement.startswith(f"{project['name']}["):
            raise ValueError(
                f"Expected a lowest version, name>=version, in pyproject.toml, got {requirement!r}."
            )
    return lines


if __name__ == "__main__":
    print("\n".join(floors(Path(sys.argv[1]).read_text(encoding="utf-8"))))
