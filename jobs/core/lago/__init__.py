"""What is known of Lago: its values, answers, prices and store (docs/facts/lago.md). No request is made here."""
