"""GridFTP's wire: no policy, no knowledge of jobs."""
