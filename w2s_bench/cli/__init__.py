"""The command line: one file a verb; `main` loads each when it is called."""
