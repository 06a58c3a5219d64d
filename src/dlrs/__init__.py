"""Deep learning radiomic signature: the arithmetic behind the notebooks."""
