"""Lets `python -m podwire_cni` stand for the installed `podwire-cni`."""

from podwire_cni.plugin import main

main()
