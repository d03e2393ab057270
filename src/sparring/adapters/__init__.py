"""Adapters, and AdpMixup (Nguyen & Le, EMNLP 2024): one for clean text, one a known attack, mixed for each example."""
