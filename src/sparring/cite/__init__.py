"""The papers to cite for what a run used."""
