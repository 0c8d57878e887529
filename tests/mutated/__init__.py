"""The mutations of all notebooks, in the order of the course; a module for each notebook."""

import importlib
import pkgutil

MUTATIONS = [
    mutation
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__))
    for mutation in importlib.import_module(f"{__name__}.{module}").MUTATIONS
]
