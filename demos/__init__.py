"""One script a chapter. Each can be run as a file, and as `python -m tinygen demo NAME`."""
