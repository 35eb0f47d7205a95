"""Script that prints pip pins for the lowest allowed version of each dependency in pyproject.toml."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("emulator", "display", "redis", "openapi")  # no LlamaIndex: its tests do not run here

if __name__ == "__main__":
    extra_requirements = (
        requirement for extra in EXTRAS for requirement in PROJECT["optional-dependencies"][extra]
    )
    for requirement in (*PROJECT["dependencies"], *extra_requirements):
        name, lowest = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,.*)?", requirement).groups()
        print(f"{name}=={lowest}")
