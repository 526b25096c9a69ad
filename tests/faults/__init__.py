"""`make faults`: real processes and services that are killed, stopped, frozen and cut off while tasks are under way."""
