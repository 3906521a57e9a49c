"""Ours beside what a user would pick instead: same rows, same run, results compared before times."""
