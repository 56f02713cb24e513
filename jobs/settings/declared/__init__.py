"""Every setting by its name, in a file for each thing that they set up."""
