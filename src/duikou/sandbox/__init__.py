"""Child processes for untrusted files, restricted in files, system calls, time and memory."""
