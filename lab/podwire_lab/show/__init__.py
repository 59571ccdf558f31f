"""What people look at.

tables         a lab's overview                draw      its topology
reachability   who reaches whom, against the oracle; reach_table shows it
journey        one packet's way in plain words
demo           all of it in under a minute
"""
