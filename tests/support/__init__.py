"""What several tests need. There are no tests here."""
