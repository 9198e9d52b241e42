"""What is checked of a request before a run: the model's files, the rows, the directory, what is resumed."""
