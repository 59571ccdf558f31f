"""What the agent says: to people, to the API server, to whoever reads its status.

logs      standard error               status      a file that is always whole
summary   what goes into it
reporter  what the API server is told  events      on bad objects     conditions  of our Node
outbox    letters to the API server, sent by a thread of its own
"""
