"""SSH: SFTP by a client of our own, over the ssh program or paramiko."""
