"""What cells will take, before any is run: hours and memory by stage, for a named card or the machine at hand."""
