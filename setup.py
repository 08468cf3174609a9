"""What pyproject.toml can't say: a wheel holds the pages of `book` and not the code that builds them."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutBuilders(build_py):
    """Leave the modules of `book` out of the wheel."""

    def find_package_modules(self, package, package_dir):
        """Return the modules of a package: none of the book, whose notebooks are its data."""
        return [] if package == "latentcortex.book" else super().find_package_modules(package, package_dir)


setup(cmdclass={"build_py": WithoutBuilders})
