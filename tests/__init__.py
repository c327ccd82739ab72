"""Everything that is checked by itself; see CONTRIBUTING.md for the folders."""
