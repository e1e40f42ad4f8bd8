"""Runnable workflows. Pegasus' API changes what PyYAML's loaders do, for all who use them: undone here."""

import Pegasus.yaml
import yaml

for name in ("yaml_constructors", "yaml_implicit_resolvers"):
    loader = vars(Pegasus.yaml)["_Loader"]
    if name in vars(loader):
        delattr(loader, name)  # it is inherited again
assert yaml.load("2026-11-22", yaml.CSafeLoader) != "2026-11-22"
