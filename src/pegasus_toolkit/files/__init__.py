"""Copies, syncs and verifications of files and directories in plain words, between any two protocols.

What ``pegasus-files``, ``pegasus-transfer SOURCE... DESTINATION`` and the Python API share: places are named,
listed and compared here; what is to be moved becomes operations of the transfer engine.
"""
