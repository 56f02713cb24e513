"""From a judged workspace to the values of the report's page: what is shown, how much of it, in which words."""

from jobs.steps.page.page import PAGE_FILE, Findings, make_page
from jobs.steps.page.sending import applied_backfill, completed_backfill, unfinished_backfill

__all__ = ["PAGE_FILE", "Findings", "applied_backfill", "completed_backfill", "make_page", "unfinished_backfill"]
