"""SSH and SFTP version 3: how a server is reached, and what is said to it."""
