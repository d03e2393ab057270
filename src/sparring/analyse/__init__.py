"""Linguistic correlation analysis: which neurons of a model know what words are, and how many it takes."""
