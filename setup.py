"""The C kernels, an optional part of the package; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["kernels/build.py:ffibuilder"], options={"bdist_wheel": {"py_limited_api": "cp311"}})
