"""HTTP and HTTPS, and the loop that everything over libcurl shares."""
