"""What a private name is: looked up where it is used, with one clear error where it is gone."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from tfcompress.errors import VersionError

_ABSENT = object()


@dataclass(frozen=True)
class InnerName:
    """Something in a module that its package does not document.

    Attributes:
        package: Name of the package on PyPI.
        module: Full name of the module.
        name: Name in the module; "" for the module itself.
        why: What tfcompress needs it for, as the end of "which tfcompress needs to".
        versions: Versions in which it was found.
    """

    package: str
    module: str
    name: str
    why: str
    versions: str

    def get(self) -> Any:
        """The object that has the name.

        Raises:
            VersionError: The installed version lacks it.
        """
        try:
            found = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            whole = self.module.partition(".")[0]
            if error.name in (None, whole) or not f"{self.module}.".startswith(f"{error.name}."):
                raise  # the whole package, or something that it needs
            self._gone()
        if not self.name:
            return found
        value = getattr(found, self.name, _ABSENT)
        if value is _ABSENT:
            self._gone()
        return value

    @contextmanager
    def replaced(self, value: Any) -> Iterator[None]:
        """Another object under the name inside the block; the old one comes back after it.

        Raises:
            VersionError: The installed version lacks the name.
        """
        kept, module = self.get(), importlib.import_module(self.module)
        setattr(module, self.name, value)
        try:
            yield
        finally:
            setattr(module, self.name, kept)

    def _gone(self) -> NoReturn:
        _gone((self.package,), f"it has no {self}", self.why, self.versions)

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass(frozen=True)
class PrivateAttribute:
    """An attribute that is not part of its owner's documented interface.

    Attributes:
        packages: Names on PyPI of the packages whose objects have it.
        owner: Kind of object that has it.
        name: Name of the attribute.
        why: What tfcompress needs it for, as the end of "which tfcompress needs to".
        versions: Versions in which it was found, in the order of `packages`.
    """

    packages: tuple[str, ...]
    owner: str
    name: str
    why: str
    versions: str

    def of(self, owner: Any, default: Any = _ABSENT) -> Any:
        """Its value.

        Args:
            owner: The object that has it.
            default: Value where not every object of this kind has it.

        Raises:
            VersionError: The object lacks it, and there is no default.
        """
        value = getattr(owner, self.name, default)
        if value is _ABSENT:
            self._gone()
        return value

    def on(self, owner: Any) -> bool:
        """Whether an object has it."""
        return hasattr(owner, self.name)

    def put(self, owner: Any, value: Any) -> None:
        """Set it on an object that has it.

        Raises:
            VersionError: The object lacks it, so that nothing would read the new value.
        """
        if not self.on(owner):
            self._gone()
        setattr(owner, self.name, value)

    def _gone(self) -> NoReturn:
        _gone(self.packages, f"{self} is missing", self.why, self.versions)

    def __str__(self) -> str:
        return f"{self.name} of a {self.owner}"


def _gone(packages: tuple[str, ...], problem: str, why: str, versions: str) -> NoReturn:
    installed = " or ".join(f"{name} {_installed(name)}" for name in packages)
    raise VersionError(
        installed,
        f"{problem}, which tfcompress needs to {why}",
        f"install a version that has it: {versions}",
    ) from None


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(version unknown)"
