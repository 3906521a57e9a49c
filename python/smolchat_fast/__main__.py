"""`python -m smolchat_fast`."""

from smolchat_fast.cli import main

main()
