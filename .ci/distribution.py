"""Build of wheel and sdist, with checks and smoke tests in empty environments: `make build`."""

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
SMOKE_SCRIPT = ROOT / ".ci" / "smoke.py"
PACKAGE = "langchain_bailian_app"
SAMPLES = f"{PACKAGE}/emulator/samples/"
SDIST_FILES = {
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "README.zh-CN.md",
    "pyproject.toml",
}


def run(*command: object, cwd: Path | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def build() -> tuple[Path, Path]:
    """Build a wheel and an sdist and return their paths."""
    for old in DIST.glob("*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel, sdist


def find_unexpected_files(wheel: Path, sdist: Path) -> list[str]:
    """Return files other than the package, its samples and its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        wheel_files = [name for name in archive.namelist() if ".dist-info/" not in name]
    with tarfile.open(sdist) as archive:
        sdist_files = [
            member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()
        ]
    return [
        name
        for name in (*wheel_files, *sdist_files)
        if not is_package_file(name) and name not in SDIST_FILES
    ]


def is_package_file(name: str) -> bool:
    is_code = name.startswith(f"{PACKAGE}/") and name.endswith((".py", "/py.typed"))
    return is_code or (name.startswith(SAMPLES) and name.endswith(".md"))


def find_missing_files(wheel: Path) -> list[str]:
    """Return the files of the package that are missing in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        wheel_files = set(archive.namelist())
    package_files = [
        path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*") if path.is_file()
    ]
    return [name for name in package_files if "__pycache__" not in name and name not in wheel_files]


def smoke_test(wheel: Path, kind: str) -> None:
    """Install the wheel in an empty environment and run the smoke test."""
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = Path(scratch, "bin", "python")
        extra = "" if kind == "bare" else f"[{kind}]"
        run(python, "-m", "pip", "install", "--quiet", f"{wheel}{extra}")
        run(python, SMOKE_SCRIPT, kind, cwd=Path(scratch))


if __name__ == "__main__":
    distributions = build()
    if unexpected := find_unexpected_files(*distributions):
        sys.exit(f"unexpected files in the distributions: {unexpected}")
    if missing := find_missing_files(distributions[0]):
        sys.exit(f"missing files in the wheel: {missing}")
    for kind in ("bare", "emulator"):
        smoke_test(distributions[0], kind)
