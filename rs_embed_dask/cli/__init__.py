"""The command line: the verbs again."""
