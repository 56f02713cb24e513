"""The steps of a run on a real workspace: matching, causes, the page, settling."""
