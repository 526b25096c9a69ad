"""Who does the work: claims a task, runs it in the sandbox and writes how it ended."""
