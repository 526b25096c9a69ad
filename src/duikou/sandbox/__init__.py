"""Child processes that read untrusted files: limited in files, system calls, time and memory."""
