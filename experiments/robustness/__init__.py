"""What happens to runs that are killed, and with files, databases and disks that fail."""
