"""Training of the networks of the miniature world: run ``python -m data_scripts.mini_models.train``."""
