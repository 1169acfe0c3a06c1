"""The embedded cluster exists so that people and tests without a cluster still run real jobs."""
