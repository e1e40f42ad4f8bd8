"""The OSDF and other federations of Pelican."""
