"""`python -m podwire_node` is `podwire`."""

from podwire_node.cli import main

main()
