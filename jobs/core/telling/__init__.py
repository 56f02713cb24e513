"""What is said to people and machines: columns, metrics, texts. Writing it to a file or sending it is not done here."""
