"""The tests; a package, because lago-python-client installs one of the same name."""
