"""The models: one system, one file. Families (`vae`, ...) do not import one another."""
