"""Studies: a frozen list of runs, run where they are missing, one JSON line each, and what the lines say."""
