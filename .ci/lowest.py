"""Print the lowest release of each dependency that pyproject.toml allows, as pins for pip."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("emulator", "display", "redis", "openapi")  # of LlamaIndex no test runs here

if __name__ == "__main__":
    of_extras = (need for extra in EXTRAS for need in PROJECT["optional-dependencies"][extra])
    for need in (*PROJECT["dependencies"], *of_extras):
        name, lowest = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,.*)?", need).groups()
        print(f"{name}=={lowest}")
